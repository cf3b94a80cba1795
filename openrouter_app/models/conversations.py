"""Conversations: the tree of messages a visitor sees. Nothing in it is overwritten."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .chains import Chain
from .fields import JSONTextField, OutsideTextField
from .owners import Owner


class ConversationQuerySet(models.QuerySet["Conversation"]):
    """Conversations, by who may see them."""

    def for_owner(self, owner: Owner) -> ConversationQuerySet:
        """The owner's conversations and no others; this is the permission check. The system owns none."""
        if owner.user_id is not None:
            return self.filter(user_id=owner.user_id)
        if owner.visitor is not None:
            return self.filter(visitor=owner.visitor)
        return self.none()


class Conversation(models.Model):
    """What somebody said to one chain, and its answers. ``head`` is the message the page ends with."""

    MAX_TITLE = 200

    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="openrouter_conversations",
        verbose_name=_("user"),
    )
    visitor = models.UUIDField(_("visitor"), null=True, blank=True)
    chain = models.ForeignKey(
        Chain, on_delete=models.PROTECT, related_name="conversations", verbose_name=_("chain")
    )
    title = OutsideTextField(_("title"), max_length=MAX_TITLE, blank=True)
    head = models.ForeignKey(
        "Message",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("newest message"),
    )
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated = models.DateTimeField(_("updated"), default=timezone.now)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        ordering = ["-updated", "-pk"]
        get_latest_by = "updated"
        constraints = [
            models.CheckConstraint(
                condition=(
                    Q(user__isnull=False, visitor__isnull=True) | Q(user__isnull=True, visitor__isnull=False)
                ),
                name="openrouter_app_conversation_one_owner",
            ),
        ]
        indexes = [
            models.Index(fields=["user", "-updated"], name="openrouter_conv_user_updated"),
            models.Index(fields=["visitor", "-updated"], name="openrouter_conv_visitor_upd"),
        ]

    def __str__(self) -> str:
        return self.title or str(self.uuid)

    @property
    def owner(self) -> Owner:
        """Who it belongs to."""
        return Owner(user_id=self.user_id, visitor=self.visitor)


class Message(models.Model):
    """One message of the tree. What a user said stands in ``input``, an answer in the run that writes it.

    Messages with the same ``parent`` are versions of one another: edits of a question, or answers to it.
    """

    class Role(models.TextChoices):
        """Who says it."""

        USER = "user", _("User")
        ASSISTANT = "assistant", _("Assistant")

    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True, editable=False)
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="messages", verbose_name=_("conversation")
    )
    parent = models.ForeignKey(
        "self",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="children",
        verbose_name=_("answers to"),
    )
    role = models.CharField(_("role"), max_length=10, choices=Role)
    input = JSONTextField(_("input"), null=True, blank=True)
    v = models.PositiveSmallIntegerField(_("format"), default=1, editable=False)
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ["created", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=(Q(role="user", input__isnull=False) | Q(role="assistant", input__isnull=True)),
                name="openrouter_app_message_input_is_users",
            ),
        ]
        indexes = [
            models.Index(fields=["conversation", "parent"], name="openrouter_msg_conv_parent"),
        ]

    def __str__(self) -> str:
        return str(self.uuid)
