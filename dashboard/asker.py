"""Who asks the store's SQL workers: the browser session of this thread, and whether it still waits for the answer."""

from __future__ import annotations

from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequestType
from streamlit.runtime.scriptrunner_utils.script_run_context import ScriptRunContext, get_script_run_ctx

from qkstore.sql.turns import Asker


def asker() -> Asker:
    """The asker of this thread; one without a name where no session runs in it."""
    context = get_script_run_ctx(suppress_warning=True)
    return Asker(context.session_id, lambda: _gone(context)) if context else Asker()


def _gone(context: ScriptRunContext) -> bool:
    """Whether the session was closed, stopped, or has made another choice: Streamlit itself asks only between two calls
    of its own, and a query is none.
    """
    if Runtime.exists() and not Runtime.instance().is_active_session(context.session_id):
        return True
    asked = getattr(context.script_requests, "_state", ScriptRequestType.CONTINUE)
    return asked is not ScriptRequestType.CONTINUE
