"""Products in a deploy: what is drawn of them is written down as real, or they go."""

from __future__ import annotations

from datetime import timedelta

from editor.build.items import Failed, product_of, settle
from editor.models import DeployItem, DriveArray, InstanceArray


def settle_product(item: DeployItem) -> timedelta | None:
    """Writes down that a product is now what was drawn."""

    def change() -> None:
        product = product_of(item.step.of)
        if product is not None:
            product.deployed, product.unsettled = item.step.deploy.goal[item.step.of], False
            product.save(update_fields=["deployed", "unsettled"])

    settle(item, change, topics=_drawing(item))
    return None


def remove_product(item: DeployItem) -> timedelta | None:
    """Takes a product off the drawing, of which nothing is left."""

    def change() -> None:
        product = product_of(item.step.of)
        if isinstance(product, DriveArray) and product.drives.exists():
            raise Failed("it still has drives. Review what is left.", permanent=True)
        if isinstance(product, InstanceArray) and product.instances.filter(server__isnull=False).exists():
            raise Failed("it still has servers. Review what is left.", permanent=True)
        if product is not None:
            product.delete()

    settle(item, change, topics=[f"nodes-{item.step.deploy.infrastructure_id}", *_drawing(item)])
    return None


def _drawing(item: DeployItem) -> list[str]:
    pk = item.step.deploy.infrastructure_id
    return [f"infrastructure-{pk}", f"wiring-{pk}", f"design-{pk}"]
