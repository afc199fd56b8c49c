"""The parts that answer requests, put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.events.outbox import Outbox
from continuon_local.storage.bodies import Bodies
from continuon_local.storage.buckets import Buckets
from continuon_local.storage.firebase_rules import StorageRules
from continuon_local.storage.folders import Folders
from continuon_local.storage.hmac_keys import HmacKeys
from continuon_local.storage.notices import Notices
from continuon_local.storage.objects import Objects
from continuon_local.storage.pubsub_bridge import PubSubBridge
from continuon_local.storage.resumable import Sessions
from continuon_local.storage.store import Store
from continuon_local.storage.upload_parts import UploadParts
from continuon_local.storage.versions import Versions

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from continuon_local.meter import Meter
    from continuon_local.service import ServiceContext
    from continuon_local.storage.accounts import Accounts

__all__ = ["Engine"]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Everything behind the HTTP surface."""

    context: ServiceContext
    store: Store
    bodies: Bodies
    buckets: Buckets
    objects: Objects
    sessions: Sessions
    outbox: Outbox
    accounts: Accounts
    notices: Notices
    pubsub: PubSubBridge
    folders: Folders
    hmac_keys: HmacKeys
    versions: Versions
    parts: UploadParts
    rules: StorageRules

    @property
    def meter(self) -> Meter:
        """Where billable operations are counted."""
        return self.context.meter

    @classmethod
    def create(
        cls,
        context: ServiceContext,
        connection: sqlite3.Connection,
        folder: Path,
        accounts: Accounts,
        *,
        rules_file: Path | None = None,
    ) -> Engine:
        """Put the parts together over a database and a folder, and sweep what a crash left.

        ``rules_file`` is ``storage.rules``, which judges the calls of Firebase's users.
        """
        clock = context.clock
        outbox = Outbox(connection)
        store = Store(connection)
        bodies = Bodies(folder, durable=context.data_dir is not None)
        notices = Notices(connection)
        bridge = PubSubBridge(notices)
        outbox.subscribe(bridge.notify)
        versions = Versions(store, outbox, notices)
        objects = Objects(store, bodies, outbox, versions, clock)
        folders = Folders(connection, clock)
        hmac_keys = HmacKeys(connection, clock)
        accounts.trust_hmac(hmac_keys.hmac_secret)
        buckets = Buckets(store, clock)
        buckets.on_delete += [notices.forget_bucket, folders.forget_bucket]
        # The files of what could have been restored go with the next sweep.
        buckets.on_delete.append(store.drop_bucket_soft_deleted)
        sessions = Sessions(connection, bodies, objects, clock)
        parts = UploadParts(connection, clock)
        bodies.prepare(store.body_ids() | sessions.body_ids() | parts.body_ids())
        return cls(
            context=context,
            store=store,
            bodies=bodies,
            buckets=buckets,
            objects=objects,
            sessions=sessions,
            accounts=accounts,
            outbox=outbox,
            notices=notices,
            pubsub=bridge,
            folders=folders,
            hmac_keys=hmac_keys,
            versions=versions,
            parts=parts,
            rules=StorageRules(rules_file),
        )
