"""Fixtures of the tests against a real API server."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from cloudrec_local.kubeapi import KubeApi
from cloudrec_local.stack import Stack
from tests.cluster.operating import World


@pytest.fixture
async def world(api_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A namespace of its own, with the Secrets and the app that `operating.recording` names."""
    bare = _bare(api_stack, monkeypatch)
    async with bare.admin:
        await bare.create()
        await bare.furnish()
        yield bare
        await bare.remove()


@pytest.fixture
async def bare_world(api_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A namespace of its own with nothing in it."""
    bare = _bare(api_stack, monkeypatch)
    async with bare.admin:
        await bare.create()
        yield bare
        await bare.remove()


def _bare(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> World:
    kubernetes = stack.status().kubernetes
    assert kubernetes is not None
    address = urlsplit(kubernetes.server)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
    return World(KubeApi.from_kubeconfig(kubernetes.kubeconfig), f"t-{uuid.uuid4().hex[:8]}", kubernetes.kubeconfig)
