"""A real OpenID provider in this process, which can be told to answer with a forged token."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import oidc_provider_mock
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from werkzeug.serving import make_server

Claims = dict[str, Any]
Forger = Callable[[Claims], str]
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
"""Stands for the provider's own while it forges: it publishes it, so that the signature is not what is wrong."""
KID = "forged"


def signed(claims: Claims, *, key: Any = KEY, algorithm: str = "RS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": KID})


class Provider:
    """`oidc-provider-mock` on a free port; `user` makes users, and `forge` changes the tokens that it gives out."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://localhost:{port}"
        self.forge: Forger | None = None
        self.asked: list[str] = []
        app = oidc_provider_mock.app()
        app.after_request(self._changed)
        self._server = make_server("localhost", port, app, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def user(self, subject: str, **claims: Any) -> None:
        """What it says of a user from now on."""
        requests.put(f"{self.issuer}/users/{subject}", json=claims, timeout=30).raise_for_status()

    def log_in(self, address: str, subject: str) -> dict[str, str]:
        """As the user's browser at the provider's form: the parameters with which it is sent back."""
        answer = requests.post(address, data={"sub": subject}, allow_redirects=False, timeout=30)
        assert answer.status_code == 302, answer.text
        return dict(parse_qsl(urlsplit(answer.headers["Location"]).query))

    def _changed(self, response: Any) -> Any:
        from flask import request

        self.asked.append(request.path)
        if self.forge and request.path == "/oauth2/token":
            body = response.get_json()
            claims = jwt.decode(body["id_token"], options={"verify_signature": False})
            response.set_data(json.dumps(body | {"id_token": self.forge(claims)}))
        if self.forge and request.path == "/jwks":
            public = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
            response.set_data(json.dumps({"keys": [public | {"kid": KID, "use": "sig"}]}))
        return response
