"""Write docs/reliability.md from the table here and the figures of chaos: `python tools/reliability_page.py`.

The figures are those of docs/reliability.json, which `make chaos ARGS="--chaos-report docs/reliability.json"` writes.
Every test that is named has to exist, or nothing is written.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
FIGURES = ROOT / "docs" / "reliability.json"

NOT_TESTED = "not tested"

_CHAOS = "chaos/test_chaos.py::test_nothing_is_lost_and_no_host_harmed"
_FLOOD = "chaos/test_soak.py::test_a_million_events_for_a_platform_that_takes_ten_a_second"
_HUNDRED = "chaos/test_soak.py::test_a_hundred_runs_in_one_process_leave_nothing_behind"
_WEIGHTS = "integrations/test_promises.py::test_the_weights_are_the_same_whatever_the_backend_does"
_PLATFORM = "destinations/test_platform_delivery.py::test_"
_STORED = "destinations/test_checkpoints.py::test_"
_S3 = "storage/test_s3.py::test_"
_JOURNAL = "test_journal.py::test_"
_END_TO_END = "integrations/test_end_to_end.py::test_"
_RESUME = "integrations/test_resume.py::test_"
_YOLO = "integrations/test_ultralytics.py::test_"


@dataclass(frozen=True)
class Row:
    """A fault, what happens then, and the tests that hold it: names below tests/, or `NOT_TESTED`."""

    fault: str
    then: str
    tests: tuple[str, ...]


PROMISES = (
    Row(
        "1 · The host is not harmed",
        "weights, exception objects, exit status and output are those of a training without us, under every fault",
        (
            _CHAOS,
            _WEIGHTS,
            "integrations/test_promises.py::test_an_error_in_any_function_of_ours_leaves_the_training_as_it_was",
            f"{_END_TO_END}the_training_prints_and_returns_what_it_would_without_us",
            _HUNDRED,
        ),
    ),
    Row(
        "2 · Nothing accepted is lost",
        "accepted = delivered + pending + rejected + superseded, whoever is killed when",
        (_CHAOS, f"{_JOURNAL}sigkill_at_any_moment_loses_nothing_that_was_accepted", _FLOOD),
    ),
    Row(
        "3 · Delivered once in effect",
        "each id once, in order, with the same content each time; one end for each attempt, and nothing behind it",
        (_CHAOS, f"{_END_TO_END}killed_in_any_phase_then_sync_nothing_is_lost_and_nothing_doubles"),
    ),
    Row(
        "4 · Only true things are said",
        "at every moment a manifest describes the object beside it; an address is told when a whole object is there",
        (_CHAOS, f"{_STORED}at_every_moment_the_manifest_describes_the_object_beside_it"),
    ),
    Row(
        "5 · One voice",
        "of a distributed job one rank speaks, and another's failure is told with its rank",
        (
            "test_ranks.py::test_one_rank_speaks",
            "integrations/test_ultralytics_ddp.py::test_two_ranks_are_one_run_with_one_voice",
            "integrations/test_mmengine_ddp.py::test_two_ranks_are_one_run_with_one_voice",
        ),
    ),
    Row(
        "6 · No secrets out",
        "no credential is written to journal, log, event or error text",
        (
            f"{_END_TO_END}everything_arrives_at_the_backend_and_in_storage",
            "test_redact.py::test_a_known_secret_never_comes_through",
            "test_run.py::test_a_credential_given_as_an_argument_is_nowhere_in_the_run",
        ),
    ),
    Row(
        "7 · Cheap",
        "memory is flat over a million events, and the exit is bounded; times are measured (benchmarks.md), not tested",
        (_FLOOD,),
    ),
)

NETWORK = (
    Row(
        "connection refused, no DNS",
        "the training doesn't notice; tried again with jitter, doubling to 60 s; at the end 5 s are waited at most, if "
        "nothing was ever reached",
        (
            _WEIGHTS,
            f"{_PLATFORM}a_server_that_is_down_is_for_later_and_found_again",
            f"{_PLATFORM}a_name_that_nobody_knows_is_left_within_the_deadline",
            f"{_END_TO_END}an_outage_in_the_middle_delays_and_loses_nothing",
            _CHAOS,
        ),
    ),
    Row(
        "black hole, one byte a second (platform)",
        "30 s for a whole exchange, 5 s for the connection, however it drips; then tried again",
        (
            f"{_PLATFORM}a_black_hole_is_left_within_the_deadline",
            f"{_PLATFORM}an_answer_that_does_not_come_whole_in_time_is_for_later",
            _CHAOS,
        ),
    ),
    Row(
        "black hole, one byte a second (storage)",
        "stalls of a second are sat out (chaos); 30 s without a byte end a request, and that is not tested; a whole "
        "transfer has no deadline, for a slow line may have 20 GB to carry: a store that drips holds up checkpoints",
        (_CHAOS,),
    ),
    Row(
        "reset in the middle, answer lost after the work was done",
        "repeated under the same id with the same content; where an upload's last answer is lost, the object is looked "
        "at",
        (
            f"{_PLATFORM}a_lost_answer_is_repeated_under_the_same_key",
            f"{_PLATFORM}a_batch_whose_answer_was_lost_is_stored_once",
            f"{_S3}an_answer_that_was_lost_after_completion_is_no_failure",
            _CHAOS,
        ),
    ),
    Row(
        "500, 502, 503, 504",
        "tried again, in order; no circuit breaker, the doubling wait does its work",
        (f"{_PLATFORM}passing_trouble_is_for_later", _CHAOS),
    ),
    Row(
        "429 with `Retry-After` in seconds, as a date, absurd, missing",
        "honoured up to 300 s, else as above",
        (
            f"{_PLATFORM}the_wait_that_the_server_asks_for_is_kept_within_reason",
            f"{_PLATFORM}the_wait_may_be_given_as_a_date",
            _CHAOS,
        ),
    ),
    Row(
        "400, 404, 410, 422",
        "kept as rejected, with the reason; the rest flows on; `sync --retry-rejected` offers it again",
        (
            f"{_PLATFORM}a_refusal_is_final_and_the_rest_flows_on",
            f"{_PLATFORM}not_found_is_not_the_platforms_word_unless_it_is_json",
            "cli/test_sync.py::test_what_was_refused_is_offered_again_and_nothing_else",
            _CHAOS,
        ),
    ),
    Row(
        "401, 403, a rotated token",
        "waits, and reads the token again",
        (
            f"{_PLATFORM}refused_credentials_are_for_later_and_the_setting_is_named",
            f"{_PLATFORM}a_rotated_token_is_read_again",
        ),
    ),
    Row(
        "413",
        "the batch is halved; a single event that is too large is rejected alone",
        (
            f"{_PLATFORM}a_refused_batch_is_halved_until_the_culprit_stands_alone",
            f"{_PLATFORM}an_event_too_large_for_any_batch_is_refused_alone",
        ),
    ),
    Row(
        "200 with HTML, cut or foreign JSON; a redirect to a login page",
        "not taken for a delivery",
        (
            f"{_PLATFORM}an_answer_that_is_no_json_object_is_not_believed",
            f"{_PLATFORM}an_answer_to_a_batch_that_names_no_event_acknowledges_none",
            f"{_PLATFORM}a_redirect_to_a_login_page_is_named_and_not_followed",
            _CHAOS,
        ),
    ),
)

DEATHS = (
    Row(
        "SIGKILL at a random moment: of the training, of the courier, of both",
        "nothing accepted is lost; the next attempt or the courier says that the attempt was lost; figures above",
        (
            _CHAOS,
            f"{_JOURNAL}sigkill_at_any_moment_loses_nothing_that_was_accepted",
            f"{_END_TO_END}killed_in_any_phase_then_sync_nothing_is_lost_and_nothing_doubles",
            f"{_END_TO_END}a_killed_courier_is_started_again",
        ),
    ),
    Row(
        "SIGKILL in the middle of a copy or of a file that is replaced",
        "what it leaves half done is removed by the next who may",
        (
            "test_files.py::test_what_a_killed_process_has_left_is_removed_and_nothing_else",
            "cli/test_sync.py::test_a_private_copy_that_a_killed_training_never_told_of_is_removed",
            _CHAOS,
        ),
    ),
    Row(
        "SIGTERM, SIGINT",
        "interrupted, not failed; the host's own handlers are called; the next start is the next attempt",
        (
            f"{_END_TO_END}a_training_that_dies_leaves_one_true_terminal_event_and_its_own_exit_status",
            "test_endings.py::test_a_signal_is_told_to_the_run_and_to_the_hosts_handler",
            "integrations/test_promises.py::test_ctrl_c_is_an_interruption",
        ),
    ),
    Row(
        "a second SIGINT while the exit waits for delivery",
        "the process leaves at once, with the exit status of the first; everything is on disk",
        (
            "test_ctrl_c.py::test_a_second_ctrl_c_leaves_at_once_and_loses_nothing",
            "test_ctrl_c.py::test_ctrl_c_once_keeps_its_exit_status_though_not_all_is_delivered",
        ),
    ),
    Row(
        "SIGHUP, SIGQUIT, SIGUSR1 and other signals that nobody handles",
        "the process dies of them as without us; below `trainer-hooks run` interrupted by that signal, else lost",
        ("cli/test_parent.py::test_a_death_is_told_as_what_it_was_and_the_exit_status_is_its_own",),
    ),
    Row(
        "`sys.exit`, `os._exit`, `os.abort`, a segmentation fault",
        "failed, interrupted or lost, as far as it can be seen; a crash with its stack; the exit status is the host's",
        (
            f"{_END_TO_END}a_training_that_dies_leaves_one_true_terminal_event_and_its_own_exit_status",
            "test_faults.py::test_a_crash_leaves_its_stack_and_dies_of_its_own_signal",
        ),
    ),
    Row(
        "the same below `trainer-hooks run`",
        "told with exit status, signal and the end of stderr; signals, streams and status are the command's own",
        (
            "cli/test_parent.py::test_a_death_is_told_as_what_it_was_and_the_exit_status_is_its_own",
            "cli/test_parent.py::test_the_end_of_stderr_is_shown",
            "cli/test_parent.py::test_a_signal_to_the_whole_group_reaches_the_command_once",
            "cli/test_parent.py::test_where_the_parent_is_killed_the_courier_speaks",
        ),
    ),
    Row(
        "courier, parent and the next start all see that an attempt has died",
        "one of them says the last word",
        ("test_last_word.py::test_whoever_is_at_it_at_the_same_instant_one_says_it",),
    ),
    Row(
        "a data-loading worker that dies",
        "failed, for want of resources, whatever strikes meanwhile",
        (
            f"{_YOLO}a_data_loading_worker_that_dies_is_a_failure_of_the_resources",
            "test_errors.py::test_a_data_loader_whose_worker_dies",
        ),
    ),
    Row(
        "out of memory, killed by the kernel",
        "failed for lack of memory where the control group counts it, else lost (tried on made-up counters only)",
        (
            "test_memory_kills.py::test_a_kill_is_seen_where_it_is_counted",
            "test_memory_kills.py::test_a_kill_among_the_neighbours_is_not_ours",
            "test_deaths.py::test_what_is_known_of_a_death_is_told",
        ),
    ),
    Row(
        "the user's exception",
        "goes on as the same object; failed, with its class and traceback",
        (
            "integrations/test_promises.py::test_the_users_exception_goes_on_as_the_same_object_and_is_told_once",
            "test_run.py::test_the_exception_object_goes_through_untouched_and_is_told",
        ),
    ),
    Row(
        "a retry within the framework after CUDA ran out of memory, or a NaN",
        "no failure; the epoch that is repeated is told once",
        (
            f"{_YOLO}an_epoch_that_is_begun_anew_with_smaller_batches_is_told_once",
            f"{_YOLO}an_epoch_that_is_repeated_after_a_nan_is_told_once",
        ),
    ),
    Row(
        "an error in any function of ours",
        "one warning; the training is the same",
        (
            "integrations/test_promises.py::test_an_error_in_any_function_of_ours_leaves_the_training_as_it_was",
            "test_shield.py::test_what_is_caught_is_counted_and_said_once",
        ),
    ),
    Row(
        "Ctrl-C that strikes in our code",
        "is the user's, and goes on",
        (
            "test_shield.py::test_an_interrupt_that_strikes_in_our_code_is_the_users",
            "test_metrics.py::test_the_users_keyboard_interrupt_passes",
        ),
    ),
    Row(
        "the machine is taken away, and the job starts again, perhaps on an empty disk",
        "the newest checkpoint is safe within the grace period; with resume the next attempt goes on from it",
        (
            f"{_RESUME}after_a_sigterm_the_next_start_is_the_next_attempt_and_the_epochs_continue",
            f"{_RESUME}with_an_empty_disk_it_goes_on_from_storage_and_the_platform_takes_both_attempts",
            f"{_RESUME}a_damaged_checkpoint_is_passed_over_for_an_older_one",
            "integrations/test_mmengine_ddp.py::test_the_ranks_of_a_launch_resume_together",
        ),
    ),
    Row(
        "it starts again, and the storage can't be asked for the checkpoint",
        "it fails before its first epoch: beginning anew would replace what it should go on from",
        (f"{_RESUME}where_storage_cannot_be_asked_the_training_does_not_begin_anew",),
    ),
    Row(
        "the platform says that the job is cancelled",
        "the training stops at its next epoch by the framework's own means; interrupted",
        (
            "integrations/test_stop.py::test_a_cancelled_job_stops_at_its_next_epoch_and_is_interrupted",
            "integrations/test_stop.py::test_ultralytics_ranks_stop_together",
            "integrations/test_mmengine_ddp.py::test_the_ranks_of_a_cancelled_job_leave_their_loops_together",
        ),
    ),
    Row(
        "the training hangs",
        "heartbeats say that it lives and gets nowhere; it is told once, and again when it goes on",
        ("test_liveness.py::test_a_hang_is_told_apart_from_progress_and_from_death",),
    ),
)

DISKS = (
    Row(
        "the journal cut at every byte of its last records, any bit flipped, a tail of zeros",
        "one record is lost at most, counted, and passed over; the next writer goes on",
        (
            f"{_JOURNAL}cut_at_every_byte_of_the_last_three_records_what_is_whole_is_found",
            f"{_JOURNAL}after_every_cut_the_next_writer_goes_on",
            f"{_JOURNAL}any_single_flipped_bit_costs_one_record_at_most",
            f"{_JOURNAL}a_tail_of_zeros_is_passed_over",
            _CHAOS,
        ),
    ),
    Row(
        "no space, read-only, no permission",
        "events wait in memory, bounded and counted; another directory, then no record at all: the training goes on",
        (
            f"{_JOURNAL}a_full_disk_costs_nothing_once_it_has_room_again",
            f"{_JOURNAL}what_memory_can_not_hold_is_counted_and_lifecycle_events_are_kept",
            f"{_END_TO_END}a_disk_that_fills_up_does_not_stop_the_training",
            "integrations/test_promises.py::test_a_place_that_cannot_be_written_does_not_stop_the_training",
            "integrations/test_promises.py::test_no_place_at_all_does_not_stop_the_training",
        ),
    ),
    Row(
        "more events than the journal's limit allows (1 GiB by default)",
        "log records are dropped, then iterations' metrics and progress, nothing else ever; all drops are counted",
        (
            f"{_JOURNAL}beyond_its_limit_a_journal_drops_logs_first_then_iterations_and_counts_them",
            f"{_JOURNAL}beyond_its_limit_nothing_else_is_dropped",
            "chaos/test_log_storm.py::test_100_000_records_are_kept_in_order_or_counted",
        ),
    ),
    Row(
        "the disk is full during a checkpoint's copy",
        "no partial copy stays; that checkpoint is rejected with the reason, the next save is copied anew",
        (
            "test_staging.py::test_a_full_disk_leaves_no_partial_copy",
            f"{_STORED}what_can_not_be_stored_is_refused_with_its_reason",
        ),
    ),
    Row(
        "a network file system without locks or mmap",
        "nothing depends on them: appends of one writer to its own file, renames, and locks where there are any",
        (NOT_TESTED,),
    ),
    Row(
        "power loss",
        "the courier syncs lifecycle events at once, all else every second; a torn tail is passed over",
        (NOT_TESTED,),
    ),
    Row(
        "the clock is set back or forth",
        "deadlines are monotonic; records keep the order of their segment",
        ("test_journal.py::test_a_clock_that_jumps_changes_no_order_within_a_segment",),
    ),
)

PROCESSES = (
    Row(
        "fork, as of DataLoader workers",
        "the child is silent, and nothing hangs",
        (
            f"{_JOURNAL}a_forked_child_is_silent",
            f"{_JOURNAL}a_fork_while_other_threads_append_hangs_nobody",
            "test_endings.py::test_a_forked_child_tells_nothing_of_its_parents_run",
            _CHAOS,
        ),
    ),
    Row(
        "spawn, forkserver",
        "the new process knows nothing of the run, and tells nothing",
        ("test_run.py::test_a_child_that_begins_anew_knows_nothing_of_it",),
    ),
    Row(
        "32 threads that tell at once; a log record from within a log record; the courier's own log as a thread",
        "no deadlock, no recursion",
        (
            f"{_JOURNAL}32_threads_may_append_at_once",
            f"{_JOURNAL}a_signal_handler_may_append_while_its_own_thread_is_appending",
            "test_logs.py::test_forwarding_that_logs_itself_begets_no_other_record",
            "test_logs.py::test_what_a_delivering_thread_makes_libraries_say_is_never_forwarded",
        ),
    ),
    Row(
        "two ranks; rank 0 dies; another rank raises",
        "one run with one end, which names the rank that failed first",
        (
            "integrations/test_ultralytics_ddp.py::test_a_rank_that_fails_is_told_with_its_own_traceback",
            "integrations/test_mmengine_ddp.py::test_a_rank_that_fails_is_told_with_its_rank_and_traceback",
            "test_ranks.py::test_a_main_rank_that_is_killed_for_it_leaves_the_cause_to_the_courier",
        ),
    ),
    Row(
        "an elastic restart by torchrun",
        "the next attempt, where the run has a name (`TRAINER_HOOKS_RUN_ID`, `JOB_ID`); else a run of its own",
        ("chaos/test_torchrun.py::test_an_elastic_restart_is_the_runs_next_attempt",),
    ),
    Row("eight ranks", "as with two", (NOT_TESTED,)),
    Row(
        "two jobs of one run id, at the same instant or beside each other",
        "two runs; the platform's job belongs to the first",
        (
            "test_attempts.py::test_processes_that_claim_one_name_at_the_same_instant_share_nothing",
            "test_attempts.py::test_while_another_process_is_at_work_a_run_begins_beside_it_without_the_job",
        ),
    ),
    Row(
        "the same run id on an empty disk",
        "its events have ids of their own; with resume it is the next attempt",
        ("test_restore.py::test_on_an_empty_disk_it_is_the_next_attempt_with_events_of_its_own",),
    ),
    Row(
        "two couriers",
        "one delivers",
        (
            f"{_END_TO_END}two_couriers_started_by_accident_deliver_once",
            "cli/test_sync.py::test_a_run_that_its_own_courier_delivers_is_left_to_it",
        ),
    ),
    Row(
        "a hundred runs in one process",
        "no thread, process, file, handler or temporary file is left",
        (_HUNDRED,),
    ),
    Row(
        "a million events as fast as they come, a platform that takes ten a second",
        "the training grows by 5 MB at most, the courier stays below 80 MB; the exit waits for the flush timeout",
        (_FLOOD,),
    ),
)

CHECKPOINTS = (
    Row(
        "storage down at any call of an upload, 403, SlowDown",
        "the old checkpoint stays, whole, with its manifest; the upload is taken up again",
        (
            f"{_STORED}whatever_call_of_storage_goes_wrong_a_second_pass_ends_the_same",
            f"{_STORED}storage_that_goes_down_in_an_upload_keeps_the_old_one_until_the_new_one_is_whole",
            f"{_STORED}a_refusal_by_storage_is_tried_again_since_people_mend_it",
            f"{_S3}an_upload_that_broke_off_goes_on_with_the_missing_parts",
            f"{_S3}another_process_goes_on_with_the_upload",
            _CHAOS,
        ),
    ),
    Row(
        "a bit flips on the way up or down",
        "found by checksum, and sent or fetched again",
        (
            f"{_S3}a_bit_flipped_on_the_way_up_is_never_visible",
            f"{_S3}a_bit_flipped_in_a_small_object_is_never_kept",
            f"{_S3}a_bit_flipped_on_the_way_down_is_never_kept",
            _CHAOS,
        ),
    ),
    Row(
        "a checkpoint that is torn, empty, all zeros",
        "refused with the reason; an older whole one stays",
        (
            "test_checkpoint_files.py::test_a_file_cut_anywhere_behind_its_magic_number_is_damaged",
            "test_checkpoint_files.py::test_a_file_of_zeros_is_damaged",
            f"{_STORED}a_damaged_newer_last_does_not_cost_the_whole_older_one",
        ),
    ),
    Row(
        "rewritten while it is read, rotated away, deleted",
        "what is stored is the private copy of the moment when it was told",
        (
            "test_staging.py::test_a_copy_outlives_the_rewriting_and_the_deletion_of_its_source",
            "test_staging.py::test_a_source_that_is_rewritten_meanwhile_is_refused_or_whole",
            "integrations/test_mmengine.py::test_files_that_the_host_deletes_are_stored_all_the_same",
            _CHAOS,
        ),
    ),
    Row(
        "20 GB",
        "parts in parallel, in bounded memory; tested with a sparse file, not with 20 GB",
        (f"{_S3}a_large_sparse_file_goes_up_and_down",),
    ),
    Row(
        "a checkpoint that is a directory",
        "refused with the reason: only files can be stored so far",
        (f"{_STORED}what_can_not_be_stored_is_refused_with_its_reason",),
    ),
)

VALUES = (
    Row(
        "NaN, ±inf, 1e400, None, text, tensors on an accelerator, huge integers, hostile objects, 20 000 names",
        "told as what they are, or skipped by name with the reason; never 0, and no accelerator is asked",
        (
            "test_metrics.py::test_a_number_of_any_kind_is_told_as_it_is",
            "test_metrics.py::test_what_is_no_number_is_named_with_the_reason",
            "test_metrics.py::test_a_tensor_on_the_cpu_is_read_and_one_on_an_accelerator_never_asked",
            "test_metrics.py::test_twenty_thousand_metrics_are_all_told",
            f"{_YOLO}what_is_nan_is_told_as_nan",
        ),
    ),
    Row(
        "hostile text, cycles, objects that raise at everything, sizes beyond reason",
        "no call raises or hangs; what can't be read is named, what is too large is cut and said; the rest is told",
        (
            "test_hostile_input.py::test_whatever_is_told_every_event_is_kept_with_all_else_that_is_in_it",
            "test_hostile_input.py::test_no_value_costs_an_event_or_makes_a_line_that_can_not_be_read",
            "test_hostile_input.py::test_what_was_told_is_delivered_and_holds_up_nothing_that_follows",
        ),
    ),
    Row(
        "secrets in parameters, addresses, the environment, tracebacks, logs, and in what servers say back",
        "in no byte that is written, sent or printed",
        (
            "test_no_secrets_out.py::test_a_run_whose_servers_say_back_what_they_were_sent",
            "test_no_secrets_out.py::test_a_real_training",
            "chaos/test_doctor_secrets.py::test_doctor_prints_no_secret",
        ),
    ),
)

HOSTS = (
    Row(
        "ClearML's package or server is missing, hangs, refuses; a task exists already; offline",
        "the mirror waits, the training doesn't; the task is joined",
        (
            "integrations/test_clearml.py::test_trouble_with_clearml_is_no_trouble_of_the_training",
            "integrations/test_clearml.py::test_exit_does_not_wait_for_a_server_that_hangs",
            "integrations/test_clearml.py::test_the_scripts_own_task_is_joined",
            "integrations/test_clearml.py::test_offline_mode_is_for_a_later_sync",
        ),
    ),
    Row(
        "other versions of the frameworks, RT-DETR, classification, pose, resume, tuning",
        "the table of versions is compatibility.md",
        (
            f"{_YOLO}each_task_is_told_with_its_name_its_classes_and_its_judging_metric",
            f"{_YOLO}rtdetr_is_told_with_its_own_losses",
            f"{_YOLO}a_resumed_training_is_the_next_attempt_of_its_run",
            f"{_YOLO}tuning_is_no_run_and_its_trainings_are_processes_that_are_not_attached",
        ),
    ),
    Row(
        "autolog twice, after the model was made; detached",
        "told once; every object of the host is as it was",
        (
            f"{_YOLO}a_model_made_before_autolog_is_told",
            "integrations/test_mmengine.py::test_each_way_and_all_at_once_tell_the_same_once",
            "integrations/test_promises.py::test_detach_leaves_every_object_of_the_host_as_it_was",
        ),
    ),
)

_STEPS = "actions/steps/test_"
_EXECUTORS = "actions/test_executors.py::test_"
_SYNAPSE = "destinations/test_synapse_delivery.py::test_"
_TO_SYNAPSE = "actions/backends/test_synapse.py::test_"
ACTIONS = (
    Row(
        "a step, or a rollback, is left by an error, Ctrl-C or SIGKILL",
        "what is done is rolled back, in reverse, but by no SIGKILL; the next attempt goes on behind what is done",
        (
            f"{_STEPS}killed.py::test_a_fault_in_a_step_and_the_next_attempt",
            f"{_STEPS}killed.py::test_a_fault_in_a_rollback_and_the_next_attempt",
            f"{_STEPS}killed.py::test_what_a_killed_attempt_has_done_is_rolled_back_by_the_next_that_fails",
        ),
    ),
    Row(
        "the process of an action is killed, with its watching process or without; on Ray, too",
        "lost; a retry is the next attempt of its run",
        (
            f"{_EXECUTORS}a_killed_action_is_lost_and_its_retry_is_the_next_attempt",
            f"{_EXECUTORS}where_the_watching_process_is_killed_too_the_submitter_says_the_last_word",
            "actions/test_ray.py::test_a_killed_driver_is_lost_and_its_retry_is_the_next_attempt",
            "actions/test_ray.py::test_where_all_of_the_job_is_killed_the_submitter_says_the_last_word",
        ),
    ),
    Row(
        "an action is cancelled, or who cancels it is interrupted",
        "interrupted, and nothing of it is left alive",
        (
            f"{_EXECUTORS}a_cancelled_action_is_interrupted_and_its_process_gone",
            f"{_EXECUTORS}who_interrupts_the_stopping_once_more_leaves_nothing_alive",
            "actions/test_action.py::test_an_action_that_is_to_stop_does_so_between_its_steps",
        ),
    ),
    Row(
        "several trainings in one action, resumed",
        "each goes on from its own checkpoint, or says that it can't",
        (
            "actions/test_action.py::test_a_training_in_an_action_goes_on_where_it_was_left",
            "actions/test_action.py::test_which_of_several_trainings_is_to_go_on_is_not_guessed",
            "test_trainings.py::test_a_training_goes_on_from_its_own_checkpoint_only",
        ),
    ),
    Row(
        "a model's upload: lost answers, wrong offsets, 503, a file that changes, a full disk, SIGKILL",
        "one model, whole, or an error and none",
        (
            f"{_TO_SYNAPSE}a_chunk_whose_answer_fails_is_neither_lost_nor_sent_twice",
            f"{_TO_SYNAPSE}a_lost_answer_to_a_new_model_is_looked_for_by_its_name",
            f"{_TO_SYNAPSE}somebody_elses_model_is_never_returned",
            f"{_TO_SYNAPSE}a_file_that_changes_meanwhile_is_no_model",
            "actions/backends/test_local.py::test_a_full_disk_leaves_no_model",
            "actions/backends/test_local.py::test_a_process_killed_while_it_creates_a_model_leaves_none",
        ),
    ),
    Row(
        "a model that is begun with: damaged in the cache, half extracted, out of its folder",
        "fetched anew, or refused; whole or not at all",
        (
            "actions/test_model_files.py::test_a_directory_that_was_written_to_is_fetched_again",
            "actions/test_archives.py::test_a_process_killed_while_it_extracts_leaves_no_model",
        ),
    ),
    Row(
        "Synapse is down, loses answers, stumbles over an entry, refuses the result",
        "nothing is lost, little is told twice, and the job doesn't stay RUNNING",
        (
            f"{_SYNAPSE}an_outage_is_waited_out",
            f"{_SYNAPSE}what_was_taken_without_an_answer_is_not_told_twice",
            f"{_SYNAPSE}the_one_that_is_always_answered_with_a_fault_is_left_out_and_named",
            f"{_SYNAPSE}an_end_does_not_wait_for_a_log_that_takes_nothing",
        ),
    ),
    Row(
        "trials of a search fail, die, are NaN; the search itself is killed",
        "the others go on; the next attempt does none again that is done",
        (
            "actions/test_tune.py::test_a_trial_that_fails_or_dies_does_not_end_the_search_and_nan_never_wins",
            "actions/test_tune.py::test_a_search_that_was_killed_goes_on_and_does_nothing_again",
        ),
    ),
)

MATRIX = {
    "The platform and the network": NETWORK,
    "Deaths": DEATHS,
    "The disk and the clock": DISKS,
    "Processes and threads": PROCESSES,
    "Checkpoints and storage": CHECKPOINTS,
    "Values": VALUES,
    "Frameworks and ClearML": HOSTS,
    "Actions": ACTIONS,
}

INTRODUCTION = """\
# Reliability

What is promised, what was done to break it, and which test holds it. Written by `tools/reliability_page.py`, which
checks that each test exists; the figures are those of a run of

    make chaos SEEDS={seeds} ARGS="--chaos-report docs/reliability.json"

## Chaos

A real, tiny training of three epochs (Ultralytics, MMEngine, or a hand-written loop) is killed by SIGKILL at random
moments, with its courier or without, and started again until an attempt comes to its own end. Meanwhile the platform
and the S3 storage refuse, stall, drip, cut connections after any byte, lose answers, answer 429, 500 and 422, and flip
bits; in some seeds a bit of the journal flips on the disk. Then `trainer-hooks sync`. All of it is drawn from one seed;
`make chaos SEED=17` does that one again.

The oracle (`tests/chaos/oracle.py`) imports nothing of this package. It compares four things that it reads by itself:
the training's own record of what it told, the journal's lines with their checksums, the requests that the platform
took, and the objects in the bucket. What it asks for stands at its top. That it would find a fault is tested, too: with
the checksum unchecked, ids that are not unique or missing, the order reversed, forked children that speak, no private
copies, or the manifest written first, it has to object (`tests/chaos/test_guards.py`).

"""

COLUMNS = {
    "kills survived": "kills survived",
    "attempts": "attempts",
    "events accepted": "events accepted, all found",
    "records at the platform": "records at the platform",
    "requests": "requests",
    "repeats": "repeats",
    "faults": "faults",
    "checkpoints verified": "checkpoints verified",
    "looks at manifests": "looks at manifests",
}


def figures() -> list[dict[str, Any]]:
    """Those of each seed of the last run that was kept."""
    found: list[dict[str, Any]] = json.loads(FIGURES.read_text())
    return found


def page(seeds: list[dict[str, Any]]) -> str:
    """The whole page."""
    parts = [INTRODUCTION.format(seeds=len(seeds)), *_sums(seeds)]
    parts += ["\n## The promises\n\n", *_table("promise", "what it means here", PROMISES)]
    parts += ["\n## Fault by fault\n"]
    for title, rows in MATRIX.items():
        parts += [f"\n### {title}\n\n", *_table("fault", "what happens", rows)]
    return "".join(parts)


def _sums(seeds: list[dict[str, Any]]) -> Iterator[str]:
    yield f"| host | seeds | held | {' | '.join(COLUMNS.values())} |\n|---|{'---:|' * (len(COLUMNS) + 2)}\n"
    hosts = dict.fromkeys(one["host"] for one in seeds)
    groups = {host: [one for one in seeds if one["host"] == host] for host in hosts} | {"all": seeds}
    for host, of_host in groups.items():
        sums = (f"{sum(one[name] for one in of_host):,}" for name in COLUMNS)
        held = sum(not one["violations"] for one in of_host)
        yield f"| {host} | {len(of_host)} | {held} | {' | '.join(sums)} |\n"
    for one in seeds:
        for violation in one["violations"]:
            yield f"\nSeed {one['seed']} was not held: {violation.splitlines()[0]}\n"


def _table(what: str, then: str, rows: Iterable[Row]) -> Iterator[str]:
    yield f"| {what} | {then} | held by |\n|---|---|---|\n"
    for row in rows:
        yield f"| {row.fault} | {row.then} | {'<br>'.join(map(_shown, row.tests))} |\n"


def _shown(test: str) -> str:
    if test == NOT_TESTED:
        return test
    file, _, name = test.partition("::")
    return f"`{file}` {name.removeprefix('test_').replace('_', ' ')}"


def missing_tests() -> list[str]:
    """The tests that are named and don't exist."""
    rows = [*PROMISES, *(row for rows in MATRIX.values() for row in rows)]
    named = {test for row in rows for test in row.tests} - {NOT_TESTED}
    return sorted(test for test in named if test.partition("::")[2] not in _tests_in(test.partition("::")[0]))


@cache
def _tests_in(file: str) -> frozenset[str]:
    path = ROOT / "tests" / file
    if not path.exists():
        return frozenset()
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))


if __name__ == "__main__":
    if missing := missing_tests():
        sys.exit("no such test: " + "\n              ".join(missing))
    PAGE.write_text(page(figures()))
