"""Where the platform is, as the settings say."""

from __future__ import annotations

from trainer_hooks.settings import Settings
from trainer_hooks.wire.server import Server


def platform_server(settings: Settings) -> Server:
    """The platform that CALLBACK_URL names, with its token."""

    def credentials() -> dict[str, str]:
        token = (settings.bearer_token() or "").strip()
        return {"Authorization": f"Bearer {token}"} if token else {}

    return Server(
        url=settings.callback_url or "",
        credentials=credentials,
        address_setting="CALLBACK_URL",
        credentials_settings="TRAINER_HOOKS_TOKEN or the file that TRAINER_HOOKS_TOKEN_FILE names",
    )
