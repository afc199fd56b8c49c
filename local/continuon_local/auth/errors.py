"""The errors of the Auth service, as Identity Toolkit words them."""

from __future__ import annotations

__all__ = ["AuthError"]


class AuthError(Exception):
    """A request that Identity Toolkit refuses.

    Attributes:
        code: The stable part of the message, for example ``EMAIL_EXISTS``; clients match on it.
        status: The HTTP status.
        message: The whole message: the code, or the code and an explanation after " : ".
        grpc_status: The name of the canonical status, where Google sends one.
    """

    def __init__(
        self, code: str, detail: str = "", *, status: int = 400, grpc_status: str = ""
    ) -> None:
        self.code = code
        self.status = status
        self.grpc_status = grpc_status
        self.message = f"{code} : {detail}" if detail else code
        super().__init__(self.message)

    def body(self) -> dict[str, object]:
        """Return the JSON body of the answer."""
        error: dict[str, object] = {
            "code": self.status,
            "message": self.message,
            "errors": [{"message": self.message, "reason": "invalid", "domain": "global"}],
        }
        if self.grpc_status:
            error["status"] = self.grpc_status
        return {"error": error}
