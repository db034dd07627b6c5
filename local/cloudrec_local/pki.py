"""The stack's own certificates: a CA for the Kubernetes API and one for etcd, keys on P-256, nothing of the host's."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = dt.timedelta(days=3650)
SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
LOOPBACK, SERVICE = "127.0.0.1", "10.96.0.1"  # the second: the API server's as a Service
KUBELET_CLIENT = "kube-apiserver-kubelet-client"


def write_private(path: Path, content: bytes) -> None:
    """Write `path` readable by its owner only, in one step."""
    temporary = path.with_name(f".{path.name}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    temporary.rename(path)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass(frozen=True)
class Authority:
    """A certificate authority that writes `<name>.crt` and `<name>.key` into `folder`."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    addresses: tuple[str, ...]

    @classmethod
    def create(cls, folder: Path, name: str, *addresses: str) -> Authority:
        """Make a new authority for servers on `addresses`; its own key is kept in memory only, so nothing can be signed
        later."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + VALID)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(folder, key, certificate, addresses)

    def issue(self, file: str, common_name: str, *, organization: str = "", server: bool = False) -> None:
        """Write a key pair for a client, or with `server` for the servers' names and addresses (and as a client)."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if organization:
            attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + VALID)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if server:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            names: list[x509.GeneralName] = [x509.DNSName(name) for name in SERVER_NAMES]
            names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in dict.fromkeys(self.addresses)]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False).sign(
            self.key, hashes.SHA256()
        )
        (self.folder / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        write_private(self.folder / f"{file}.key", _pem(key))


def create(folder: Path, node: str, address: str = LOOPBACK) -> None:
    """Write every certificate and key of a stack whose one node is called `node` and whose servers are on `address`."""
    cluster = Authority.create(folder, "ca", LOOPBACK, SERVICE, address)
    cluster.issue("apiserver", "kube-apiserver", server=True)
    cluster.issue("kubelet-client", KUBELET_CLIENT, organization="cloudrec:apiserver")
    cluster.issue("kubelet", f"system:node:{node}", organization="system:nodes", server=True)
    cluster.issue("admin", "cloudrec-admin", organization="system:masters")
    cluster.issue("controller-manager", "system:kube-controller-manager")
    cluster.issue("scheduler", "system:kube-scheduler")
    cluster.issue("kube-proxy", "system:kube-proxy")
    cluster.issue("node", f"system:node:{node}", organization="system:nodes")
    store = Authority.create(folder, "etcd-ca", LOOPBACK, address)
    store.issue("etcd", "etcd", server=True)
    store.issue("etcd-client", "kube-apiserver")
    tokens = ec.generate_private_key(ec.SECP256R1())
    write_private(folder / "service-account.key", _pem(tokens))
    public = tokens.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "service-account.pub").write_bytes(public)


def write_kubeconfig(path: Path, server: str, pki: Path, user: str) -> None:
    """Write a kubeconfig for the client certificate `user`, whole in itself (no paths), so that it can be copied."""

    def inline(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "cloudrec",
        "clusters": [
            {
                "name": "cloudrec",
                "cluster": {"server": server, "certificate-authority-data": inline("ca.crt")},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": inline(f"{user}.crt"),
                    "client-key-data": inline(f"{user}.key"),
                },
            }
        ],
        "contexts": [{"name": "cloudrec", "context": {"cluster": "cloudrec", "user": user}}],
    }
    write_private(path, yaml.safe_dump(config, sort_keys=False).encode())
