"""The optional section `notify`: the named targets that are told of events, for the whole project or one recipe.

A recipe's own section replaces the project's. No stage reads it, and secrets stay in environment variables that are
named here.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.params.section import Section

Event = Literal["failed_gate", "drift", "crash", "promotion", "sweep"]
Variable = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable."""


class Target(Section):
    events: Annotated[tuple[Event, ...], Field(min_length=1)]
    """The events that the target is told of: a gate that failed, a drifted or degraded service, a run that crashed, a
    changed champion, better settings that a scheduled sweep found."""


class Webhook(Target):
    kind: Literal["webhook"]
    url_variable: Variable
    """The environment variable that holds the address, to which JSON is posted."""

    @property
    def variables(self) -> tuple[str, ...]:
        return (self.url_variable,)


class Slack(Target):
    kind: Literal["slack"]
    url_variable: Variable
    """The environment variable that holds the address of an incoming webhook."""

    @property
    def variables(self) -> tuple[str, ...]:
        return (self.url_variable,)


class Email(Target):
    kind: Literal["email"]
    host: str
    """The name of the SMTP server."""
    port: Annotated[int, Field(ge=1, le=65535)]
    security: Literal["starttls", "tls", "none"]
    """The encryption: TLS after a greeting (usually port 587), TLS from the start (465), or none (25), which allows no
    password."""
    sender: str
    to: Annotated[tuple[str, ...], Field(min_length=1)]
    user: str | None = None
    password_variable: Variable | None = None
    """The environment variable that holds the user's password."""

    @model_validator(mode="after")
    def _login(self) -> "Email":
        if (self.user is None) != (self.password_variable is None):
            raise ValueError("user and password_variable belong together; give both, or neither")
        if self.security == "none" and self.user is not None:
            raise ValueError("security is 'none', which would send the password in the clear; set starttls or tls")
        return self

    @property
    def variables(self) -> tuple[str, ...]:
        return () if self.password_variable is None else (self.password_variable,)


Notify = dict[str, Annotated[Webhook | Slack | Email, Field(discriminator="kind")]]
