"""A server that speaks ApplyUpload and CommitUpload of Tencent Cloud VOD over HTTP, with a real bucket behind it."""

import hashlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tencentcloud.vod.v20180717 import models

from cloudrec_contract.secret import Secret
from cloudrec_gateway.wire import tc3
from cloudrec_gateway.wire.request import HttpRequest, json_object

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SECRET_ID = "AKIDvodTest"
SECRET_KEY = "vod-secret-key-canary"
MODELS: dict[str, type[Any]] = {"ApplyUpload": models.ApplyUploadRequest, "CommitUpload": models.CommitUploadRequest}

Fault = tuple[int, str] | tuple[str, str]
"""An HTTP status and body, or an error's code and message."""


class Refused(Exception):
    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code)
        self.code, self.message = code, message or f"refused by the test's server: {code}"


class VodServer:
    """`faults`: by action, one for each of the next calls. `certificate`: the temporary keys of each application."""

    def __init__(self, client: "S3Client", bucket: str, folder: str, certificate: dict[str, Any] | None) -> None:
        self.client, self.bucket, self.folder = client, bucket, folder
        self.certificate: Callable[[], dict[str, Any] | None] = lambda: certificate
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.faults: defaultdict[str, list[Fault]] = defaultdict(list)
        self.paths: dict[str, str] = {}
        self.expired: set[str] = set()
        self.committed: dict[str, str] = {}
        self.content_type = "application/json"
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> "VodServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join(10)
        self._http.server_close()

    def of(self, action: str) -> list[dict[str, Any]]:
        return [parameters for name, parameters in self.calls if name == action]

    def answer(self, request: HttpRequest) -> tuple[int, bytes]:
        action = request.header(b"x-tc-action")
        fault = self.faults[action].pop(0) if self.faults[action] else None
        if fault is not None and isinstance(fault[0], int):
            return fault[0], fault[1].encode()
        try:
            _check_signature(request)
            parameters = json_object(request.body)
            known = {name.removeprefix("_") for name in vars(MODELS[action]())}
            assert set(parameters) <= known, parameters
            self.calls.append((action, parameters))
            if fault is not None:
                raise Refused(str(fault[0]), fault[1])
            said = self._apply(parameters) if action == "ApplyUpload" else self._commit(parameters)
        except Refused as refused:
            said = {"Error": {"Code": refused.code, "Message": refused.message}}
        return 200, json.dumps({"Response": {**said, "RequestId": "request-1"}}).encode()

    def _apply(self, parameters: dict[str, Any]) -> dict[str, Any]:
        number = len(self.paths) + 1
        session = f"session/{number}+{'k' * 40}=="
        path = f"/{self.folder}/{number}/f0.{parameters['MediaType']}"
        self.paths[session] = path
        return {
            "StorageBucket": self.bucket,
            "StorageRegion": "ap-chongqing",
            "VodSessionKey": session,
            "MediaStoragePath": path,
            "CoverStoragePath": None,
            "TempCertificate": self.certificate(),
        }

    def _commit(self, parameters: dict[str, Any]) -> dict[str, Any]:
        session = parameters["VodSessionKey"]
        if session not in self.paths or session in self.expired:
            raise Refused("InvalidParameterValue.VodSessionKey", "the session is unknown or has expired")
        key = self.paths[session].lstrip("/")
        self.client.head_object(Bucket=self.bucket, Key=key)
        self.committed[session] = file_id = hashlib.sha256(session.encode()).hexdigest()[:18]
        url = self.client.generate_presigned_url("get_object", Params={"Bucket": self.bucket, "Key": key})
        return {"FileId": file_id, "MediaUrl": url, "CoverUrl": None}


def _check_signature(request: HttpRequest) -> None:
    scope, signature = tc3.parse_authorization(request.header(b"authorization"))
    timestamp = request.header(b"x-tc-timestamp")
    assert abs(time.time() - int(timestamp)) < 300
    assert scope.date == datetime.fromtimestamp(int(timestamp), UTC).strftime("%Y-%m-%d")
    assert request.header(b"x-tc-version") == "2018-07-17"
    assert (scope.service, request.header(b"x-tc-region")) == ("vod", "ap-guangzhou")
    key = tc3.signing_key(Secret(SECRET_KEY), scope.date, scope.service)
    digest = hashlib.sha256(request.body).hexdigest()
    hosts = [request.headers[b"host"]]
    if scope.secret_id != SECRET_ID:
        raise Refused("AuthFailure.SecretIdNotFound")
    if not tc3.verify(request, scope, signature, timestamp, digest, key, hosts):
        raise Refused("AuthFailure.SignatureFailure")


def _handler(server: VodServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = {name.lower().encode(): value.encode() for name, value in self.headers.items()}
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, said = server.answer(HttpRequest("POST", headers, b"", body))
            self.send_response(status)
            self.send_header("Content-Type", server.content_type)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
