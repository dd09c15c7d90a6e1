//! `CONFORMANCE.md` is complete and true: every promise and every test of
//! CPython's has a row, and every row a test that exists, or a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// CPython's tests of processes, queues, pools and executors, by class.
const CPYTHON: &[(&str, &str)] = &[
    (
        "_TestProcess",
        "test_current test_set_executable test_args_argument test_daemon_argument \
         test_parent_process_attributes test_process test_process_mainthread_native_id \
         test_interrupt test_interrupt_no_handler test_terminate test_kill test_cpu_count \
         test_active_children test_recursion test_sentinel test_close test_lose_target_ref \
         test_wait_for_threads test_error_on_stdio_flush_1 test_error_on_stdio_flush_2 \
         test_forkserver_sigint test_forkserver_sigkill test_forkserver_auth_is_enabled \
         test_forkserver_without_auth_fails",
    ),
    ("_TestSubclassingProcess", "test_subclassing test_stderr_flush test_sys_exit"),
    ("TestCloseFds", "test_closefd"),
    ("_TestAtExit", "test_atexit"),
    (
        "_TestQueue",
        "test_put test_get test_qsize test_task_done test_no_import_lock_contention test_timeout \
         test_queue_feeder_on_queue_feeder_error test_closed_queue_empty_exceptions \
         test_closed_queue_put_get_exceptions",
    ),
    ("TestSimpleQueue", "test_empty_exceptions test_empty test_close test_closed"),
    (
        "_TestLock",
        "test_repr_lock test_lock test_lock_locked_2processes test_repr_rlock test_rlock \
         test_rlock_locked_2processes test_lock_context test_rlock_context",
    ),
    ("_TestSemaphore", "test_semaphore test_bounded_semaphore test_timeout"),
    (
        "_TestCondition",
        "test_notify test_notify_all test_notify_n test_timeout test_waitfor \
         test_waitfor_timeout test_wait_result",
    ),
    ("_TestEvent", "test_event test_repr"),
    (
        "_TestBarrier",
        "test_barrier test_barrier_10 test_wait_return test_action test_abort test_reset \
         test_abort_and_reset test_timeout test_default_timeout test_single_thread \
         test_thousand",
    ),
    ("_TestLogging", "test_enable_logging test_level test_filename"),
    (
        "_TestConnection",
        "test_connection test_duplex_false test_spawn_close test_sendbytes test_fd_transfer test_context",
    ),
    ("_TestValue", "test_value test_rawvalue test_getobj_getlock test_invalid_typecode"),
    (
        "_TestArray",
        "test_array test_array_from_size test_rawarray test_getobj_getlock_obj test_invalid_typecode",
    ),
    ("_TestSharedCTypes", "test_sharedctypes test_synchronize test_copy"),
    (
        "_TestSharedMemory",
        "test_shared_memory_name_with_embedded_null test_shared_memory_basics \
         test_shared_memory_recreate test_invalid_shared_memory_creation \
         test_shared_memory_pickle_unpickle test_shared_memory_pickle_unpickle_dead_object \
         test_shared_memory_across_processes \
         test_shared_memory_SharedMemoryServer_ignores_sigint \
         test_shared_memory_SharedMemoryManager_reuses_resource_tracker \
         test_shared_memory_SharedMemoryManager_basics test_shared_memory_ShareableList_basics \
         test_shared_memory_ShareableList_pickling \
         test_shared_memory_ShareableList_pickling_dead_object \
         test_shared_memory_cleaned_after_process_termination test_shared_memory_untracking \
         test_shared_memory_tracking",
    ),
    (
        "TestSharedMemoryNames",
        "test_that_shared_memory_name_with_colons_has_no_resource_tracker_errors",
    ),
    ("_TestHeap", "test_heap test_free_from_gc"),
    ("_TestListener", "test_multiple_bind test_context test_empty_authkey test_abstract_socket"),
    ("_TestListenerClient", "test_listener_client test_issue14725 test_issue16955"),
    ("_TestPoll", "test_empty_string test_strings test_boundaries"),
    ("_TestPicklingConnections", "test_pickling test_access"),
    ("TestIgnoreEINTR", "test_ignore test_ignore_listener"),
    (
        "TestWait",
        "test_wait test_wait_socket test_wait_socket_slow test_wait_timeout test_wait_integer \
         test_neg_timeout",
    ),
    ("TestInvalidFamily", "test_invalid_family test_invalid_family_win32"),
    (
        "_TestPool",
        "test_apply test_map test_starmap test_starmap_async test_map_async \
         test_map_async_callbacks test_map_chunksize test_map_handle_iterable_exception \
         test_async test_async_timeout test_imap test_imap_unordered \
         test_imap_unordered_handle_iterable_exception test_make_pool test_terminate \
         test_empty_iterable test_context test_traceback test_wrapped_exception \
         test_map_no_failfast test_enter test_resource_warning",
    ),
    ("_TestPoolWorkerErrors", "test_async_error_callback test_unpickleable_result"),
    (
        "_TestContainers",
        "test_list test_list_isinstance test_list_iter test_list_proxy_in_list test_dict \
         test_dict_isinstance test_dict_iter test_dict_proxy_nested test_nested_queue \
         test_namespace test_set test_set_init test_set_contain_all_method",
    ),
    ("_TestMyManager", "test_mymanager test_mymanager_context test_mymanager_context_prestarted"),
    ("_TestRemoteManager", "test_remote"),
    ("_TestManagerRestart", "test_rapid_restart"),
    ("TestManagerExceptions", "test_queue_get test_dispatch"),
    ("OtherTest", "test_deliver_challenge_auth_failure test_answer_challenge_auth_failure"),
    ("ChallengeResponseTest", "test_challengeresponse"),
    (
        "TestSyncManagerTypes",
        "test_event test_lock test_rlock test_semaphore test_bounded_semaphore test_condition \
         test_barrier test_queue test_joinable_queue test_list test_dict test_value test_array \
         test_namespace",
    ),
    (
        "_TestPoolWorkerLifetime",
        "test_pool_worker_lifetime test_pool_maxtasksperchild_invalid \
         test_worker_finalization_via_atexit_handler_of_multiprocessing",
    ),
    ("TestInitializers", "test_manager_initializer test_pool_initializer"),
    ("TestStdinBadfiledescriptor", "test_pool_in_process"),
    ("TestNoForkBomb", "test_noforkbomb"),
    ("TestPoolNotLeakOnFailure", "test_pool"),
    (
        "ExecutorTest",
        "test_submit test_submit_keyword test_map test_map_exception test_map_timeout \
         test_map_buffersize_type_validation test_map_buffersize_value_validation \
         test_map_buffersize test_map_buffersize_on_infinite_iterable \
         test_map_buffersize_on_multiple_infinite_iterables \
         test_map_buffersize_without_iterable test_map_buffersize_when_buffer_is_full \
         test_shutdown_race_issue12456 test_no_stale_references test_max_workers_negative \
         test_free_reference",
    ),
    (
        "ProcessPoolExecutorTest",
        "test_max_workers_too_large test_sysconf_permission_error test_killed_child \
         test_broken_process_pool_traceback test_map_chunksize test_traceback \
         test_traceback_when_child_process_terminates_abruptly \
         test_ressources_gced_in_workers test_saturation test_idle_process_reuse_one \
         test_idle_process_reuse_multiple test_max_tasks_per_child \
         test_max_tasks_per_child_defaults_to_spawn_context \
         test_max_tasks_per_child_pending_tasks_gh115634 \
         test_shutdown_no_wait_max_tasks_gh119592 \
         test_gc_during_max_tasks_worker_exit_gh152967 \
         test_force_shutdown_during_max_tasks_worker_exit \
         test_failed_worker_replacement_breaks_pool test_max_tasks_early_shutdown \
         test_python_finalization_error test_terminate_workers test_kill_workers \
         test_force_shutdown_workers_invalid_op test_force_shutdown_workers \
         test_force_shutdown_workers_dead_workers test_force_shutdown_workers_not_started_yet \
         test_force_shutdown_workers_stops_pool",
    ),
    (
        "ExecutorDeadlockTest",
        "test_error_at_task_pickle test_exit_at_task_unpickle test_error_at_task_unpickle \
         test_crash_at_task_unpickle test_crash_during_func_exec_on_worker \
         test_exit_during_func_exec_on_worker test_error_during_func_exec_on_worker \
         test_crash_during_result_pickle_on_worker test_exit_during_result_pickle_on_worker \
         test_error_during_result_pickle_on_worker \
         test_error_during_result_unpickle_in_result_handler \
         test_exit_during_result_unpickle_in_result_handler test_shutdown_deadlock \
         test_shutdown_deadlock_pickle test_crash_big_data \
         test_gh105829_should_not_deadlock_if_wakeup_pipe_full",
    ),
    ("InitializerMixin", "test_initializer"),
    ("FailingInitializerMixin", "test_initializer"),
    ("FailingInitializerResourcesTest", "test_spawn test_forkserver"),
    (
        "ExecutorShutdownTest",
        "test_run_after_shutdown test_interpreter_shutdown \
         test_submit_after_interpreter_shutdown test_hang_issue12364 test_cancel_futures \
         test_hang_gh83386 test_hang_gh94440",
    ),
    (
        "ProcessPoolShutdownTest",
        "test_processes_terminate test_context_manager_shutdown test_del_shutdown \
         test_shutdown_no_wait",
    ),
    (
        "WaitTests",
        "test_first_completed test_first_completed_some_already_completed \
         test_first_exception test_first_exception_some_already_complete \
         test_first_exception_one_already_failed test_all_completed test_timeout test_20369",
    ),
    (
        "AsCompletedTests",
        "test_no_timeout test_future_times_out test_duplicate_futures \
         test_free_reference_yielded_future test_correct_timeout_exception_msg",
    ),
    (
        "FutureTests",
        "test_done_callback_with_result test_done_callback_with_exception \
         test_done_callback_with_cancel test_done_callback_raises \
         test_done_callback_already_successful test_done_callback_already_failed \
         test_done_callback_already_cancelled test_done_callback_raises_already_succeeded \
         test_repr test_cancel test_cancelled test_done test_running test_result_with_timeout \
         test_result_with_success test_result_with_cancel test_exception_with_timeout \
         test_exception_with_success test_multiple_set_result test_multiple_set_exception",
    ),
];

const FEATURES: &[(char, u32)] = &[
    ('A', 29),
    ('B', 29),
    ('C', 36),
    ('D', 24),
    ('E', 26),
    ('F', 14),
    ('G', 10),
    ('H', 12),
    ('I', 32),
    ('J', 13),
    ('K', 10),
];

struct Row {
    id: String,
    tests: Vec<String>,
    reason: String,
}

fn rows(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in text.lines().filter(|l| l.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if cells[0] == "row" || cells[0].starts_with("---") {
            continue;
        }
        let (tests, reason) = match cells[..] {
            [_, tests, reason] | [_, _, tests, reason] => (tests, reason),
            _ => panic!("a row has three or four cells: {line}"),
        };
        let tests = tests.split(',').map(|t| t.trim().trim_matches('`').to_owned());
        rows.push(Row {
            id: cells[0].to_owned(),
            tests: tests.filter(|t| !t.is_empty()).collect(),
            reason: reason.to_owned(),
        });
    }
    rows
}

/// Every `file::test` of this directory.
fn existing() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(directory()).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        let source = std::fs::read_to_string(&path).unwrap();
        let mut is_test = false;
        for line in source.lines().map(str::trim_start) {
            if let Some(rest) = line.strip_prefix("fn ")
                && is_test
            {
                let name = rest.split('(').next().unwrap();
                found.insert(format!("{file}::{name}"));
            }
            is_test = line == "#[test]" || (is_test && line.starts_with("#["));
        }
    }
    found
}

fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn table() -> Vec<Row> {
    rows(&std::fs::read_to_string(directory().join("CONFORMANCE.md")).unwrap())
}

#[test]
fn every_row_has_a_test_that_exists_or_a_reason() {
    let existing = existing();
    assert!(existing.contains("conformance::every_row_has_a_test_that_exists_or_a_reason"));
    let mut wrong = Vec::new();
    for row in table() {
        if row.tests.is_empty() && row.reason.len() < 10 {
            wrong.push(format!("{} has neither a test nor a reason", row.id));
        }
        // Tests a reason speaks of have to exist as well.
        let mentioned = row.reason.split([' ', ';', ',']).filter(|w| w.contains("::"));
        for test in row.tests.iter().map(String::as_str).chain(mentioned) {
            if !existing.contains(test) {
                wrong.push(format!("{}: there is no test {test}", row.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_promise_has_one_row() {
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for (letter, n) in FEATURES {
        expected.extend((1..=*n).map(|i| format!("{letter}{i}")));
    }
    for (class, tests) in CPYTHON {
        expected.extend(tests.split_whitespace().map(|test| format!("{class}.{test}")));
    }
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for row in table() {
        *rows.entry(row.id).or_default() += 1;
    }
    let missing: Vec<_> = expected.iter().filter(|id| !rows.contains_key(*id)).collect();
    let unknown: Vec<_> = rows.keys().filter(|id| !expected.contains(*id)).collect();
    let twice: Vec<_> = rows.iter().filter(|(_, n)| **n > 1).collect();
    assert!(
        missing.is_empty() && unknown.is_empty() && twice.is_empty(),
        "missing: {missing:#?}, unknown: {unknown:#?}, twice: {twice:#?}"
    );
}
