"""Names in iSCSI come from ids alone, and CHAP passwords are made once and kept sealed."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import call_command
from django.db import connections
from pytest_django import Settings

from editor import chap, iscsi_names, sealed
from editor.models import Drive, Instance

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("iqn.2026-11.test", ("iqn.2026-11.test:drive-7", "iqn.2026-11.test:instance-12")),
        ("iqn.2026-11.test:san1", ("iqn.2026-11.test:san1.drive-7", "iqn.2026-11.test:san1.instance-12")),
    ],
)
def test_names_begin_as_the_setting_says_and_end_in_ids(
    prefix: str, names: tuple[str, str], settings: Settings
) -> None:
    settings.IQN_PREFIX = prefix

    assert (iscsi_names.target_iqn(Drive(pk=7)), iscsi_names.initiator_iqn(Instance(pk=12))) == names
    assert iscsi_names.chap_user(Instance(pk=12)) == "instance-12"


def test_serial_numbers_differ_and_fit() -> None:
    assert iscsi_names.serial_number(Drive(pk=7)) == "DRIVE00000007"
    assert len(iscsi_names.serial_number(Drive(pk=99_999_999_999))) == 16


@pytest.fixture
def instance(web_data: object) -> Instance:
    return Instance.objects.order_by("pk")[0]


def stale(instance: Instance) -> Instance:
    """Answers the row as somebody read it before the password was made."""
    return Instance(pk=instance.pk)


def test_password_is_made_once_and_kept_sealed(instance: Instance) -> None:
    password = chap.chap_password(instance)

    assert len(password) == 16
    assert password.isascii()
    assert password.isalnum()
    assert chap.chap_password(Instance.objects.get(pk=instance.pk)) == password
    assert chap.chap_password(stale(instance)) == password
    assert password not in Instance.objects.get(pk=instance.pk).chap_sealed
    assert chap.chap_password(Instance.objects.exclude(pk=instance.pk)[0]) != password


@pytest.mark.django_db(transaction=True)
def test_all_who_ask_at_once_get_the_same_password(instance: Instance) -> None:
    def ask(one: Instance) -> str:
        try:
            return chap.chap_password(one)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        given = set(pool.map(ask, [stale(instance) for _ in range(4)]))

    assert given == {chap.chap_password(Instance.objects.get(pk=instance.pk))}


def test_lost_key_is_told_and_not_replaced(instance: Instance) -> None:
    chap.chap_password(instance)
    other = Instance.objects.exclude(pk=instance.pk)[0]
    sealed.key_file().unlink()

    for one in (instance, other):
        with pytest.raises(sealed.SealError, match="The key to the sealed passwords is missing"):
            chap.chap_password(one)

    assert not sealed.key_file().exists()


def test_rekey_seals_the_password_anew(instance: Instance) -> None:
    password, out = chap.chap_password(instance), io.StringIO()

    call_command("rekey", stdout=out)

    assert out.getvalue().startswith("1 password sealed with a new key: ")
    newest = sealed.key_file().read_text().split()[0]
    sealed.key_file().write_text(newest)
    assert chap.chap_password(Instance.objects.get(pk=instance.pk)) == password


def test_rekey_without_the_old_key_makes_new_passwords_only_when_told_to(instance: Instance) -> None:
    password, out = chap.chap_password(instance), io.StringIO()
    kept = Instance.objects.get(pk=instance.pk).chap_sealed
    sealed.key_file().unlink()

    call_command("rekey", stdout=out)

    assert out.getvalue().endswith(
        "No key opens the CHAP passwords of 1 instance. Put the old key back, or run this again with --new-chap:\n"
        "  atlas-prod/web-1\n"
    )
    assert Instance.objects.get(pk=instance.pk).chap_sealed == kept

    call_command("rekey", "--new-chap", stdout=out)

    assert out.getvalue().endswith(
        "They get new ones; give them to their servers, as the iSCSI tabs of their drives say:\n  atlas-prod/web-1\n"
    )
    assert instance.drives.get().export_due
    assert chap.chap_password(Instance.objects.get(pk=instance.pk)) != password
