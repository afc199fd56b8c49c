"""The product behind its gateway: one local cloud for the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from product import Account, Product, Robot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import LocalCloudProcess


@pytest.fixture(scope="session")
def product(local_cloud: LocalCloudProcess) -> Iterator[Product]:
    opened = Product(local_cloud)
    yield opened
    opened.close()


@pytest.fixture
def owner(product: Product) -> Account:
    return product.account()


@pytest.fixture
def robot(owner: Account) -> Robot:
    return owner.robot()
