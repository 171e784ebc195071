"""Where the Synapse backend is, as the settings say."""

from __future__ import annotations

from trainer_hooks.settings import Settings
from trainer_hooks.wire.server import Server


def synapse_server(settings: Settings) -> Server:
    """The backend that SYNAPSE_HOST names, with all that says who we are: each is sent where it is set."""
    headers = {
        "Synapse-Access-Token": settings.synapse_token,
        "Authorization": settings.synapse_user_token,
        "Synapse-Tenant": settings.synapse_tenant,
    }
    sent = {name: f"Token {value}" for name, value in headers.items() if value}
    return Server(
        url=settings.synapse_host or "",
        credentials=lambda: sent,
        address_setting="SYNAPSE_HOST",
        credentials_settings="SYNAPSE_ACCESS_TOKEN, or SYNAPSE_PLUGIN_RUN_USER_TOKEN and SYNAPSE_PLUGIN_RUN_TENANT",
    )
