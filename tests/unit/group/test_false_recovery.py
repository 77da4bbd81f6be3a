"""A member that says of another's recovery key that it is its own."""

from __future__ import annotations

from typing import Any, cast

import pytest
from group_builders import FOUNDING, GROUP, document, identity, section, signed

from blockrep.agent.gate import _name
from blockrep.agent.own_group import OwnGroup
from blockrep.agent.recovering import recover_in
from blockrep.errors import RecoveryKeyWrong
from blockrep.group.document import Document
from blockrep.group.escrow import Secrets, wrap_secrets
from blockrep.group.identity import new_device_keys
from blockrep.group.membership import view_group
from blockrep.group.recovery_key import RecoveryKeys, derive_recovery, new_recovery_text
from blockrep.group.section import Recovery

ALL = tuple(identity(n).key for n in (1, 2, 3))


def _recovery(keys: RecoveryKeys, escrow: bytes) -> Recovery:
    return Recovery(keys.identity.key, keys.identity.certificate, escrow)


def _group(keys: RecoveryKeys, owner: int, liars: tuple[int, ...], escrow: bytes) -> Document:
    secrets = Secrets(GROUP, identity(owner), f"m{owner}", FOUNDING.name, (new_device_keys(),))
    true = _recovery(keys, wrap_secrets(secrets, keys.wrap_key))
    false = [signed(liar, recovery=_recovery(keys, escrow)) for liar in liars]
    return document(section(0, 1, (1, 2, 3)), signed(owner, recovery=true), *false)


def _others_wrap(keys: RecoveryKeys) -> bytes:
    """An escrow of this group that another key opens."""
    secrets = Secrets(GROUP, identity(2), "m2", FOUNDING.name, (new_device_keys(),))
    return wrap_secrets(secrets, bytes(32))


@pytest.mark.parametrize("owner", [1, 2, 3])
def test_it_does_not_keep_the_owner_from_coming_back(owner: int) -> None:
    keys = derive_recovery(new_recovery_text(), GROUP)
    liars = tuple(n for n in (1, 2, 3) if n != owner)
    for escrow in (_others_wrap(keys), b"nothing", b""):
        found = recover_in(_group(keys, owner, liars, escrow), keys)
        assert found.owner.key == found.secrets.identity.key == identity(owner).key


def test_without_the_owner_it_is_told() -> None:
    keys = derive_recovery(new_recovery_text(), GROUP)
    false = signed(1, recovery=_recovery(keys, _others_wrap(keys)))
    with pytest.raises(RecoveryKeyWrong, match="does not open"):
        recover_in(document(section(0, 1, (1,)), false), keys)


def test_a_member_is_called_by_its_own_name() -> None:
    """Else what it does would stand in the log as another's."""
    victim = identity(1)
    false = signed(2, recovery=Recovery(victim.key, victim.certificate, b""))
    group: Any = type("Group", (), {})()
    group.view = view_group(document(section(0, 1, (1, 2)), section(1), false), identity(0).key)
    assert _name(cast(OwnGroup, group), victim.key, "") == "m1"
