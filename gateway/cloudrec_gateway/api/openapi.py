"""The JSON bodies as OpenAPI 3.1. All actions are `POST /`; the header X-TC-Action tells which."""

from __future__ import annotations

import copy
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from cloudrec_gateway.api.models import REQUESTS, RESPONSES

API_VERSION: Final = "2019-07-22"
_TEMPLATE: Final = "#/components/schemas/{model}"

_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["Error", "RequestId"],
    "properties": {
        "Error": {
            "type": "object",
            "required": ["Code", "Message"],
            "properties": {"Code": {"type": "string"}, "Message": {"type": "string"}},
        },
        "RequestId": {"type": "string"},
    },
}


def document(version: str) -> dict[str, Any]:
    """The whole document; `version` is the project's."""
    models: list[type[BaseModel]] = [*REQUESTS.values(), *RESPONSES.values()]
    _, definitions = models_json_schema(
        [(model, "validation" if model in REQUESTS.values() else "serialization") for model in models],
        by_alias=True,
        ref_template=_TEMPLATE,
    )
    schemas = {name: copy.deepcopy(schema) for name, schema in definitions["$defs"].items()}
    for model in RESPONSES.values():
        schema = schemas[model.__name__]
        schema["properties"]["RequestId"] = {"type": "string"}
        schema["required"] = [*schema.get("required", []), "RequestId"]
    schemas["ErrorResponse"] = copy.deepcopy(_ERROR)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cloudrec gateway",
            "version": version,
            "description": (
                "The recording actions of the TRTC API. Requests are signed (TC3-HMAC-SHA256); every answer has HTTP "
                "status 200, errors too."
            ),
        },
        "paths": {"/": {"post": _post()}},
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "TC3-HMAC-SHA256": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": (
                        "TC3-HMAC-SHA256 Credential=<SecretId>/<date>/<service>/tc3_request, SignedHeaders=<names>, "
                        "Signature=<hex>"
                    ),
                }
            },
        },
        "security": [{"TC3-HMAC-SHA256": []}],
    }


def _post() -> dict[str, Any]:
    return {
        "operationId": "call",
        "summary": "One of the actions",
        "parameters": [
            _header("X-TC-Action", {"type": "string", "enum": list(REQUESTS)}),
            _header("X-TC-Version", {"type": "string", "enum": [API_VERSION]}),
            _header("X-TC-Timestamp", {"type": "integer", "description": "seconds since the Unix epoch"}),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": [_ref(model) for model in REQUESTS.values()]}}},
        },
        "responses": {"200": {"description": "The answer or an error", "content": {"application/json": _answer()}}},
    }


def _answer() -> dict[str, Any]:
    inner = [*(_ref(model) for model in RESPONSES.values()), {"$ref": _TEMPLATE.format(model="ErrorResponse")}]
    return {"schema": {"type": "object", "required": ["Response"], "properties": {"Response": {"anyOf": inner}}}}


def _header(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "schema": schema}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _TEMPLATE.format(model=model.__name__)}
