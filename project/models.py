"""What the demo's chat acts on: a small shop's orders, and what was changed in them."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Order(models.Model):
    """One order. Everybody who visits the demo may see all of them: nobody real has ordered anything."""

    class Status(models.TextChoices):
        ORDERED = "ordered", "Ordered"
        PACKED = "packed", "Packed"
        SENT = "sent", "Sent"
        DELIVERED = "delivered", "Delivered"

    number = models.PositiveIntegerField(unique=True)
    customer = models.CharField(max_length=100)
    item = models.CharField(max_length=200)
    status = models.CharField(max_length=10, choices=Status, default=Status.ORDERED)
    delivery_date = models.DateField()

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return f"{self.number}"

    @property
    def can_be_moved(self) -> bool:
        """Whether it has not left the house yet."""
        return self.status in (self.Status.ORDERED, self.Status.PACKED)


class OrderChange(models.Model):
    """A delivery that was moved. ``key`` is the tool call's own: one call moves a delivery once."""

    key = models.UUIDField(unique=True, editable=False)
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="changes")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    before = models.DateField()
    after = models.DateField()
    made = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.order}: {self.before} to {self.after}"
