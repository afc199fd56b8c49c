"""Areas and cases: what is asked of a target, apart from where the target is."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from conformance.answers import attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.cloud.firestore import Client, CollectionReference
    from google.cloud.firestore_v1.services.firestore import FirestoreClient
    from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

__all__ = ["Area", "FirestoreGround", "PubSubGround"]


@dataclass(frozen=True)
class _Administrator:
    """The generated client with the outer client's credentials on every call."""

    inner: FirestoreClient
    metadata: Any

    def __getattr__(self, name: str) -> Any:
        return partial(getattr(self.inner, name), metadata=self.metadata)


@dataclass(frozen=True)
class FirestoreGround:
    """Where a Firestore case plays: a client on the area's own database, the case's own names.

    Attributes:
        client: An administrator's.
        case: The name of the case.
        address: ``host:port`` of the Firestore, for cases that need other callers.
    """

    client: Client
    case: str
    address: str

    @property
    def docs(self) -> CollectionReference:
        """A collection that no other case uses."""
        return self.client.collection(self.case)

    @property
    def api(self) -> FirestoreClient:
        """The generated client underneath, for requests that the outer client never sends."""
        administrator = _Administrator(self.client._firestore_api, self.client._rpc_metadata)
        return cast("FirestoreClient", administrator)

    @property
    def database(self) -> str:
        """The resource name of the database."""
        return str(self.client._database_string)

    @property
    def root(self) -> str:
        """The resource name above the top collections."""
        return f"{self.database}/documents"


@dataclass(frozen=True)
class PubSubGround:
    """Where a Pub/Sub case plays: both clients and the case's own project."""

    publisher: PublisherClient
    subscriber: SubscriberClient
    case: str

    @property
    def project(self) -> str:
        """A project that no other case uses."""
        return f"projects/{self.case}"

    def topic(self, name: str = "topic-a") -> str:
        """Return the full name of a topic."""
        return f"{self.project}/topics/{name}"

    def subscription(self, name: str = "sub-a") -> str:
        """Return the full name of a subscription."""
        return f"{self.project}/subscriptions/{name}"


@dataclass
class Area:
    """Cases that share a service, a name in the table and, for Firestore, seeded documents.

    Attributes:
        recorded: Whether the reference's answers are kept and replayed. Not where they depend on
            files that change without the emulators at hand.
    """

    service: str
    name: str
    cases: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    seed: Callable[[Any], None] | None = None
    recorded: bool = True

    def add(self, name: str, run: Callable[[Any], Any]) -> None:
        """Add a case.

        Raises:
            ValueError: The name is taken.
        """
        if name in self.cases:
            raise ValueError(f"{self.name} has two cases called {name}")
        self.cases[name] = run

    def case(self, run: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Add the decorated function under its own name."""
        self.add(run.__name__.strip("_"), run)
        return run

    def answer(self, name: str, ground: FirestoreGround | PubSubGround) -> Any:
        """Run one case; return its answer as JSON, refusals included."""
        return attempt(lambda: self.cases[name](ground))
