from __future__ import annotations

import re

import pytest

from tinygrad_norm.data import registry
from tinygrad_norm.data.published import published


def test_every_address_is_https_and_ends_in_the_name():
    files = [file for name in registry.names if name != "digits" for file in published(name).files]
    assert len(files) == 10
    for file in files:
        assert file.urls
        assert re.fullmatch("[0-9a-f]{32}", file.md5)
        assert all(url.startswith("https://") and url.endswith(f"/{file.name}") for url in file.urls)
    assert len({file.md5 for file in files}) == 10


@pytest.mark.parametrize(("name", "third"), [("mnist", "3"), ("fashion-mnist", "Dress"), ("cifar10", "cat")])
def test_classes_have_names(name, third):
    (names,) = published(name).classes.values()
    assert len(set(names)) == 10
    assert names[3] == third
