"""How a script ends: the list of problems and 2, a safe stop and 130, or a traceback and 1."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from hf_transfer.problems import Diverged, Mistakes, NotPushed, Problem, Problems
from hf_transfer.training.checkpoints import unreadable

REFUSED_BY_TRANSFORMERS = {  # words of its messages -> what to do
    "use_cpu": "--use_cpu makes bf16 run on the CPU",
    "non-zero --logging_steps": "give 1 or more, or --logging_strategy no",
}


def command(main: Callable[[], Any]) -> int:
    """Run `main` and return the exit code: `sys.exit(command(main))`.

    0 done; 2 wrong arguments or data (listed on stderr by the first process, no traceback); 130 interrupted;
    1 anything else, with a traceback and, last, what is safe on disk if the error carries that as `safe`. A push
    that failed is 1 without a traceback: the run itself is whole.
    """
    try:
        _end_on_sigterm()
        main()
        _leave_the_others()
        return 0
    except Problems as error:
        return _refuse(error)
    except KeyboardInterrupt as error:
        return _stop("Interrupted.", error, getattr(error, "code", 130))
    except (Diverged, Mistakes, NotPushed) as error:
        return _stop(str(error), error, 1)
    except Exception as error:
        if (refused := _from_training_arguments(error) or unreadable(error)) is not None:
            return _refuse(refused)
        if not first_to_say():
            return 1  # what ended another process, or the loss of it, has been said
        if disk_is_full(error):
            return _stop("The disk is full: free some space, then go on.", error, 1)
        if (lost := _lost_another(error)) is not None:
            return _stop(lost, error, 1)
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        return _stop(said, error, 1)


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it is not training that it stops."""

    code = 128 + signal.SIGTERM


def _end_on_sigterm() -> None:
    """Let SIGTERM end preparation and evaluation as Ctrl-C does: with a word, and without a traceback."""

    def end(number: int, frame: Any) -> None:
        raise Terminated("SIGTERM")

    main_thread = threading.current_thread() is threading.main_thread()
    if main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)


def _leave_the_others() -> None:
    """Close the connections to the other processes: gloo's threads can abort an interpreter that ends with them open."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def problem_list(error: Problems) -> str:
    """The problems as a list for people, headed by how many there are."""
    count = len(error.problems)
    head = "One thing has to be mended first:" if count == 1 else f"{count} things have to be mended first:"
    items = [f"- {problem}".replace("\n", "\n  ") for problem in error.problems]
    return "\n".join([head, *items])


def disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk (or quota) is the cause; some libraries say so only in the message."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def first_to_say() -> bool:
    """Whether no other process of the run has said yet why it ends; the others then only end too.

    A process that fails takes the others with it (their connections break), and all of them may find the same fault.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "MASTER_ADDR" not in os.environ:
        return True
    import time
    from datetime import timedelta

    if (
        threading.current_thread() is threading.main_thread()
    ):  # a launcher stops the others of one that failed
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    from torch.distributed import TCPStore

    try:  # the store through which the processes found each other
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(*place, is_master=False, timeout=timedelta(seconds=3), wait_for_workers=False)
        first = store.add(f"hf_transfer/said/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", 1) == 1
    except Exception:  # it is gone, with its host
        return True
    if not first:
        time.sleep(1)  # a launcher that sees this process end stops the one that is speaking
    return first


def _lost_another(error: BaseException) -> str | None:
    """What to say when nothing is wrong here, but another process has ended without a word."""
    said = " ".join(str(error).split())
    if re.search(
        r"[Cc]onnection (was )?(closed|reset)|Broken pipe|Socket (Timeout|closed)|NCCL.*remote", said
    ):
        return f"Another process of this run has ended or cannot be reached ({said[:200]})."
    return None


def _refuse(error: Problems) -> int:
    if first_to_say():
        print(problem_list(error), file=sys.stderr, flush=True)
    return 2


def _stop(said: str, error: BaseException, code: int) -> int:
    safe = getattr(error, "safe", "")
    if (code == 1 and not isinstance(error, Diverged | Mistakes | NotPushed)) or first_to_say():
        print("\n".join([said, *([str(safe)] if safe else [])]), file=sys.stderr, flush=True)
    return code


def _from_training_arguments(error: Exception) -> Problems | None:
    """Arguments that `TrainingArguments` itself refuses (bf16 without a GPU for it): not a bug."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [(os.path.basename(frame.f_code.co_filename), frame.f_code.co_name) for frame in frames]
    if ("integration_utils.py", "get_reporting_integration_callbacks") in names or (
        isinstance(error, RuntimeError) and names[-1] == ("integration_utils.py", "__init__")
    ):
        said = " ".join(str(error).split())
        mend = "give one of them" if "only" in said and "supported" in said else "install it"
        return Problems(Problem("--report_to", said, f"{mend}, or leave the flag out"))
    if (
        not isinstance(error, ValueError | TypeError | ImportError)
        or ("training_args.py", "__post_init__") not in names
    ):
        return None
    said = " ".join(str(error).split())
    if "deepspeed" in said and isinstance(error, ImportError):
        mend = 'pip install "hf-transfer-learning[deepspeed]"'
        return Problems(Problem("--deepspeed", "needs the package deepspeed, which is not installed", mend))
    mend = next((mend for words, mend in REFUSED_BY_TRANSFORMERS.items() if words in said), "")
    return Problems(Problem("training arguments", said, mend))
