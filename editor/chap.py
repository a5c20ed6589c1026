"""The CHAP password of an instance, which opens its drives and no others. It never changes by itself."""

from __future__ import annotations

import secrets
import string

from django.db import transaction

from editor import sealed
from editor.models import Instance
from editor.passwords import sealing_key

PASSWORD_LENGTH = 16
"""RFC 3720, section 8.2.1 wants 12 or more; Windows takes no more than 16. Letters and digits: about 95 bits."""


def chap_password(instance: Instance) -> str:
    """Answers the password, made now if there is none; everybody who asks at once gets the same.

    Not inside a transaction that may be undone: a password that was given away must be the one that stays. Raises
    SealError when it cannot be sealed or read, Instance.DoesNotExist when the instance is gone.
    """
    if not instance.chap_sealed:
        instance.chap_sealed = _sealed_password(instance.pk)
    return sealed.Key.read().unseal(instance.chap_sealed)


def _sealed_password(pk: int) -> str:
    letters = string.ascii_letters + string.digits
    with transaction.atomic():
        # The key is read under the lock: `rekey` takes it too, and misses none that the older key sealed.
        fresh = Instance.objects.select_for_update(of=("self",)).get(pk=pk)
        if not fresh.chap_sealed:
            password = "".join(secrets.choice(letters) for _ in range(PASSWORD_LENGTH))
            fresh.chap_sealed = sealing_key().seal(password)
            fresh.save(update_fields=["chap_sealed"])
    return fresh.chap_sealed
