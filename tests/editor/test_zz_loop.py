import pytest
from tests.editor.test_concurrency import *
from tests.editor.test_concurrency import world, test_same_form_sent_twice_at_once_makes_one_snapshot as one, test_snapshot_is_deleted_once as two
for name in [n for n in dir() if n.startswith("test_")]: del globals()[name]
pytestmark = [pytest.mark.django_db(transaction=True)]
@pytest.mark.parametrize("n", range(25))
def test_loop(n, world): one(world)
