"""API tokens in Django's admin: to make, to see and to revoke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from eventconsole.api.tokens import create_token, digest_of
from eventconsole.models import ApiToken, Scope

if TYPE_CHECKING:
    Base = admin.ModelAdmin[ApiToken]
    Form = forms.ModelForm[ApiToken]
else:
    Base = admin.ModelAdmin
    Form = forms.ModelForm


class NewTokenForm(Form):
    """What a new token is called, and what it may do."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, scope.value) for scope in Scope], widget=forms.CheckboxSelectMultiple
    )
    topics = forms.CharField(
        required=False, help_text="Topics it may use, comma-separated, such as order.*,payment.failed; empty means all."
    )
    expires_days = forms.FloatField(
        required=False, min_value=0.01, max_value=36500, help_text="Days until it stops working; empty means never."
    )

    class Meta:
        model = ApiToken
        fields = ("name",)

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if not name.isprintable():
            raise forms.ValidationError("Allowed are printable characters.")
        return name


@admin.register(ApiToken)
class ApiTokenAdmin(Base):
    list_display = ["name", "prefix", "scopes", "topics", "created_by", "expires_at", "last_used_at", "revoked_at"]
    search_fields = ["name", "prefix"]
    actions = ["revoke"]

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def get_form(self, request: HttpRequest, obj: ApiToken | None = None, change: bool = False, **kwargs: Any) -> Any:
        return NewTokenForm if obj is None else super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:
        return ["name", "scopes", "topics", "expires_days"] if obj is None else super().get_fields(request, obj)

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        given = form.cleaned_data
        assert isinstance(request.user, User)
        token = create_token(
            given["name"],
            given["scopes"],
            topics=[topic.strip() for topic in given["topics"].split(",") if topic.strip()],
            expires_days=given["expires_days"],
            created_by=request.user,
        )
        # What the admin goes on with, such as its own log, is the row that was made.
        obj.__dict__.update(ApiToken.objects.get(digest=digest_of(token)).__dict__)
        self.message_user(request, f"Copy it now, it can't be shown again: {token}", messages.WARNING)

    @admin.action(description="Revoke", permissions=["delete"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> None:
        count = tokens.filter(revoked_at=None).update(revoked_at=timezone.now())
        self.message_user(request, f"{count} revoked")
