//! The protocols, checked under thousands of schedules each: nobody hangs, whoever quits or dies, and nothing is had
//! twice or lost.

use std::sync::Arc;
use std::sync::atomic::AtomicU64 as Count;
use std::sync::atomic::Ordering::SeqCst;

use shuttle::{check_pct, check_random};

use super::barrier::{self, BarrierWait, End};
use super::condition::{self, ConditionWait};
use super::event::{self, EventWait};
use super::lock::{self, LockWait};
use super::model::{As, Running, Seat, Task, Thread, World, by_chance};
use super::semaphore::{self, SemaphoreWait};
use super::table::{self, Looked, Wait};
use super::{Kind, Table};

/// Runs under random schedules, and under such as run one for long.
fn check(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    check_random(scenario, 800);
    check_pct(scenario, 400, 3);
}

fn is_task(how: As) -> bool {
    how == Task
}

/// Takes the lock so often, if it does not quit, and is in it alone.
fn use_lock(seat: &Seat, how: As, inside: &Count, rounds: usize, quits: u32) {
    let me = seat.me;
    for _ in 0..rounds {
        let mut recovered = false;
        if !lock::take_at_once(seat, me) {
            match seat.wait(how, LockWait::new(is_task(how)), quits) {
                Some(taken) => recovered = taken.recovered,
                None => continue,
            }
        }
        let other = inside.swap(me.into(), SeqCst);
        let died = other != 0 && seat.world.is_dead(other as u16);
        assert!(other == 0 || died, "{other} is in");
        assert!(!died || recovered, "it is not said that {other} died in it");
        seat.load(table::STATE);
        inside.store(0, SeqCst);
        lock::unlock(seat, me);
    }
}

fn locks(members: &[&[As]], mortals: &[&[As]], rounds: usize, quits: u32) {
    let (world, inside) = (World::new(), Arc::new(Count::new(0)));
    let postman = world.postman();
    let start = |seat: Seat, members: &&[As]| {
        let inside = inside.clone();
        seat.spawn(members, move |seat, how| use_lock(seat, how, &inside, rounds, quits))
    };
    let mortal: Vec<_> = mortals.iter().map(|m| start(world.mortal(80), m)).collect();
    let running: Vec<_> = members.iter().map(|m| start(world.process(), m)).collect();
    let graves: Vec<_> = mortal.into_iter().map(|m| m.bury_later(Kind::Lock)).collect();
    running.into_iter().for_each(Running::join);
    graves.into_iter().for_each(|grave| grave.join().unwrap());
    world.stop(postman);
    let end = world.arbiter();
    assert_eq!((lock::held_by(&end), table::waiting(&end)), (None, 0));
}

#[test]
fn a_lock_is_held_by_one_and_passes_on() {
    check(|| locks(&[&[Thread, Thread], &[Thread]], &[], 2, 0));
    check(|| locks(&[&[Task, Task], &[Thread]], &[], 2, 0));
}

#[test]
fn a_lock_passes_on_whoever_quits() {
    check(|| locks(&[&[Thread, Thread], &[Thread], &[Thread]], &[], 2, 40));
    check(|| locks(&[&[Task, Thread], &[Task, Task]], &[], 2, 40));
}

#[test]
fn a_lock_passes_on_whoever_dies() {
    check(|| locks(&[&[Thread], &[Thread]], &[&[Thread]], 2, 0));
    check(|| locks(&[&[Task], &[Thread]], &[&[Task, Thread], &[Thread]], 1, 20));
}

fn use_semaphore(seat: &Seat, how: As, permits: u64, rounds: usize, quits: u32) {
    for _ in 0..rounds {
        if !semaphore::take(seat, seat.me)
            && seat.wait(how, SemaphoreWait::new(is_task(how)), quits).is_none()
        {
            continue;
        }
        seat.hold();
        assert!(seat.world.held() <= permits);
        seat.load(table::STATE);
        seat.let_go();
        semaphore::give_back(seat, seat.me);
    }
}

fn semaphores(permits: u64, members: &[&[As]], mortals: &[&[As]], rounds: usize, quits: u32) {
    let world = World::new();
    semaphore::init(&world.arbiter(), permits as u32, semaphore::MAX_PERMITS);
    let postman = world.postman();
    let start = |seat: Seat, members: &&[As]| {
        seat.spawn(members, move |seat, how| use_semaphore(seat, how, permits, rounds, quits))
    };
    let mortal: Vec<_> = mortals.iter().map(|m| start(world.mortal(120), m)).collect();
    let running: Vec<_> = members.iter().map(|m| start(world.process(), m)).collect();
    let graves: Vec<_> = mortal.into_iter().map(|m| m.bury_later(Kind::Semaphore)).collect();
    running.into_iter().for_each(Running::join);
    graves.into_iter().for_each(|grave| grave.join().unwrap());
    world.stop(postman);
    let end = world.arbiter();
    assert_eq!((semaphore::available(&end), table::waiting(&end)), (permits, 0));
}

#[test]
fn permits_are_conserved() {
    check(|| semaphores(1, &[&[Thread, Thread], &[Thread]], &[], 2, 0));
    check(|| semaphores(2, &[&[Task, Task], &[Thread, Task]], &[], 2, 0));
}

#[test]
fn permits_are_conserved_whoever_quits() {
    check(|| semaphores(1, &[&[Thread, Thread], &[Thread], &[Thread]], &[], 2, 40));
    check(|| semaphores(2, &[&[Task, Thread], &[Task, Task]], &[], 2, 40));
}

#[test]
fn permits_are_conserved_whoever_dies() {
    check(|| semaphores(1, &[&[Thread], &[Thread]], &[&[Thread]], 2, 0));
    check(|| semaphores(2, &[&[Task], &[Thread]], &[&[Task, Thread], &[Thread]], 1, 20));
}

/// One permit and no more, which is always somewhere, whoever is moving it; so none may be released.
fn bounds(members: &[&[As]], mortals: &[&[As]]) {
    let world = World::new();
    semaphore::init(&world.arbiter(), 1, 1);
    let postman = world.postman();
    let start = |seat: Seat, members: &&[As]| {
        seat.spawn(members, |seat, how| use_semaphore(seat, how, 1, 1, 0))
    };
    let mortal: Vec<_> = mortals.iter().map(|m| start(world.mortal(40), m)).collect();
    let running: Vec<_> = members.iter().map(|m| start(world.process(), m)).collect();
    let graves: Vec<_> = mortal.into_iter().map(|m| m.bury_later(Kind::Semaphore)).collect();
    let errs = world.process().spawn(&[Thread], |seat, _| {
        assert!(!semaphore::release(seat, 1));
    });
    errs.join();
    running.into_iter().for_each(Running::join);
    graves.into_iter().for_each(|grave| grave.join().unwrap());
    world.stop(postman);
    assert_eq!(semaphore::available(&world.arbiter()), 1);
}

#[test]
fn a_bound_holds_whoever_moves_permits_or_dies() {
    check(|| bounds(&[&[Thread], &[Thread]], &[]));
    check(|| bounds(&[&[Thread]], &[&[Thread]]));
}

/// Permits that come from elsewhere, several at a time.
#[test]
fn released_permits_wake_as_many_as_wait() {
    let scenario = |members: &[&[As]]| {
        let world = World::new();
        semaphore::init(&world.arbiter(), 0, semaphore::MAX_PERMITS);
        let postman = world.postman();
        let start = |members: &&[As]| {
            world.process().spawn(members, |seat, how| {
                seat.wait(how, SemaphoreWait::new(is_task(how)), 0).unwrap();
            })
        };
        let running: Vec<_> = members.iter().map(start).collect();
        let n: usize = members.iter().map(|m| m.len()).sum();
        let release = |n: usize| assert!(semaphore::release(&world.arbiter(), n as u32));
        release(n - 1);
        release(1);
        running.into_iter().for_each(Running::join);
        world.stop(postman);
        assert_eq!(semaphore::available(&world.arbiter()), 0);
    };
    check(move || scenario(&[&[Thread, Thread], &[Thread]]));
    check(move || scenario(&[&[Task, Task, Thread], &[Task]]));
}

/// Waits for a notice; those who quit may have one all the same.
fn conditions(members: &[&[As]], quits: u32) {
    let (world, got) = (World::new(), Arc::new(Count::new(0)));
    let postman = world.postman();
    let n: usize = members.iter().map(|m| m.len()).sum();
    let mut running = Vec::new();
    for members in members {
        let seat = world.process();
        for how in *members {
            let wait = ConditionWait::enter(&seat, seat.me, is_task(*how)).unwrap();
            let (wait, got) = (shuttle::sync::Mutex::new(Some(wait)), got.clone());
            running.push(seat.spawn(&[*how], move |seat, how| {
                let wait = wait.lock().unwrap().take().unwrap();
                if seat.wait(how, wait, quits).is_some() {
                    condition::act(seat, seat.me);
                    got.fetch_add(1, SeqCst);
                }
            }));
        }
    }
    let other = world.process();
    let one = other.spawn(&[Thread], |seat, _| {
        condition::notify(seat, 1);
    });
    let notified = condition::notify(&world.arbiter(), 1);
    one.join();
    // Those that are left.
    let rest = condition::notify(&world.arbiter(), u64::MAX);
    running.into_iter().for_each(Running::join);
    world.stop(postman);
    let got = got.load(SeqCst);
    if quits == 0 {
        assert_eq!((notified, rest, got), (1, n as u64 - 2, n as u64));
    }
    assert!(got <= n as u64);
    assert_eq!(table::waiting(&world.arbiter()), 0);
}

#[test]
fn a_condition_wakes_one_for_each_notice() {
    check(|| conditions(&[&[Thread, Thread], &[Thread]], 0));
    check(|| conditions(&[&[Task, Task, Thread], &[Task]], 0));
}

#[test]
fn a_notice_passes_on_whoever_quits() {
    check(|| conditions(&[&[Thread, Thread], &[Thread]], 40));
    check(|| conditions(&[&[Task, Task, Thread], &[Task]], 40));
}

/// One quits, dropped or too late, and one does not: a single notice is not lost between them.
#[test]
fn a_notice_is_not_lost_to_one_that_quits() {
    let scenario = |how: As| {
        let (world, got) = (World::new(), Arc::new(Count::new(0)));
        let postman = world.postman();
        let start = |seat: &Seat, quits: u32| {
            let wait = ConditionWait::enter(seat, seat.me, is_task(how)).unwrap();
            let (wait, got) = (shuttle::sync::Mutex::new(Some(wait)), got.clone());
            seat.spawn(&[how], move |seat, how| {
                let wait = wait.lock().unwrap().take().unwrap();
                if seat.wait(how, wait, quits).is_some() {
                    condition::act(seat, seat.me);
                    got.fetch_add(1, SeqCst);
                }
            })
        };
        let (one, two) = (world.process(), world.process());
        let quits = start(&one, 100);
        let stays = start(if by_chance(50) { &one } else { &two }, 0);
        assert_eq!(condition::notify(&world.arbiter(), 1), 1);
        quits.join();
        // Either has it, or the other one did when it quit.
        if got.load(SeqCst) == 1 {
            condition::notify(&world.arbiter(), 1);
        }
        stays.join();
        world.stop(postman);
    };
    check(move || scenario(Thread));
    check(move || scenario(Task));
}

#[test]
fn a_notice_is_not_for_those_who_come_later() {
    check_random(
        || {
            let world = World::new();
            let seat = world.process();
            let enter = || ConditionWait::enter(&seat, seat.me, false).unwrap();
            let early = shuttle::sync::Mutex::new(Some(enter()));
            assert_eq!(condition::notify(&world.arbiter(), u64::MAX), 1);
            let early = seat.spawn(&[Thread], move |seat, how| {
                let early = early.lock().unwrap().take().unwrap();
                seat.wait(how, early, 0).unwrap();
                condition::act(seat, seat.me);
            });
            let mut later = enter();
            assert!(matches!(later.look(&seat, seat.me, false), Looked::Nothing));
            early.join();
            assert_eq!(condition::notify(&world.arbiter(), u64::MAX), 1);
            assert!(matches!(later.look(&seat, seat.me, false), Looked::Got(())));
        },
        1000,
    );
}

#[test]
fn a_notice_passes_on_whoever_dies() {
    let scenario = |how: As| {
        let world = World::new();
        let postman = world.postman();
        let start = |seat: Seat, mortal: bool| {
            let wait = ConditionWait::enter(&seat, seat.me, is_task(how)).unwrap();
            let wait = shuttle::sync::Mutex::new(Some(wait));
            let seat = if mortal { seat.mortal(12) } else { seat };
            seat.spawn(&[how], move |seat, how| {
                let wait = wait.lock().unwrap().take().unwrap();
                seat.wait(how, wait, 0).unwrap();
                condition::act(seat, seat.me);
            })
        };
        // It is the first to be notified, and dies at once or later.
        let mortal = start(world.process(), true);
        let stays = start(world.process(), false);
        let notifier = world.process().spawn(&[Thread], |seat, _| {
            // Its answer may be 0 only if both are gone, and one is not.
            assert_eq!(condition::notify(seat, 1), 1);
        });
        let arbiter = world.arbiter();
        let mut taken = false;
        mortal.bury(Kind::Condition, |_| taken = table::waiting(&arbiter) < 2);
        notifier.join();
        if taken {
            // It had the notice.
            condition::notify(&arbiter, 1);
        }
        stays.join();
        world.stop(postman);
    };
    check(move || scenario(Thread));
    check(move || scenario(Task));
}

fn events(members: &[&[As]], mortal: bool, quits: u32) {
    let world = World::new();
    let postman = world.postman();
    let start = |members: &&[As]| {
        world.process().spawn(members, move |seat, how| {
            seat.wait(how, EventWait::new(is_task(how)), quits);
        })
    };
    let setter = if mortal { world.mortal(12) } else { world.process() };
    let running: Vec<_> = members.iter().map(start).collect();
    let clears = by_chance(50) && !mortal;
    let setter = setter.spawn(&[Thread], move |seat, _| {
        event::set(seat);
        if clears {
            event::clear(seat);
        }
    });
    setter.bury(Kind::Event, |_| ());
    // Of a second time they learn only if it was cleared; who comes after that waits for the next.
    event::set(&world.arbiter());
    running.into_iter().for_each(Running::join);
    world.stop(postman);
    assert_eq!(table::waiting(&world.arbiter()), 0);
}

#[test]
fn an_event_wakes_all() {
    check(|| events(&[&[Thread, Thread], &[Thread]], false, 0));
    check(|| events(&[&[Task, Task, Thread], &[Task]], false, 30));
}

#[test]
fn an_event_wakes_all_whoever_dies() {
    check(|| events(&[&[Thread, Thread], &[Thread]], true, 0));
    check(|| events(&[&[Task, Task, Thread], &[Task]], true, 30));
}

/// Who has waited for it before it was set has it, even if it was cleared at once.
#[test]
fn an_event_that_is_cleared_at_once_was_set() {
    check(|| {
        let world = World::new();
        let (seat, setter) = (world.process(), world.process());
        let mut wait = EventWait::new(false);
        assert!(matches!(wait.look(&seat, seat.me, false), Looked::Nothing));
        let wait = shuttle::sync::Mutex::new(Some(wait));
        let waiting = seat.spawn(&[Thread], move |seat, how| {
            let wait = wait.lock().unwrap().take().unwrap();
            seat.wait(how, wait, 0).unwrap();
        });
        event::set(&setter);
        event::clear(&setter);
        waiting.join();
    });
}

/// One trip: its place, or none if the barrier is broken or it quit.
fn trip(seat: &Seat, how: As, quits: u32) -> Option<u64> {
    let task = is_task(how);
    match seat.wait(how, BarrierWait::new(task), quits)? {
        End::Passed(before) => Some(before),
        End::Last(one) => {
            let last = barrier::parties(seat) - 1;
            barrier::depart(seat, seat.me, task, one).then_some(last)
        }
        End::Broken => None,
    }
}

#[test]
fn a_barrier_lets_all_go_at_once() {
    let scenario = |members: &[&[As]], rounds: u64| {
        let (world, places) = (World::new(), Arc::new(Count::new(0)));
        let n: usize = members.iter().map(|m| m.len()).sum();
        barrier::init(&world.arbiter(), n as u32);
        let postman = world.postman();
        let start = |members: &&[As]| {
            let places = places.clone();
            world.process().spawn(members, move |seat, how| {
                for round in 0..rounds {
                    let place = trip(seat, how, 0).expect("nobody breaks it");
                    let had = places.fetch_add(1 << (8 * place), SeqCst) >> (8 * place) & 0xff;
                    // Nobody is a trip ahead.
                    assert!(had == round, "place {place} was had {had} times in trip {round}");
                }
            })
        };
        let running: Vec<_> = members.iter().map(start).collect();
        running.into_iter().for_each(Running::join);
        world.stop(postman);
        assert_eq!(places.load(SeqCst), (0..n).map(|place| rounds << (8 * place)).sum::<u64>());
        assert_eq!((barrier::come(&world.arbiter()), table::waiting(&world.arbiter())), (0, 0));
    };
    check(move || scenario(&[&[Thread, Thread], &[Thread]], 2));
    check(move || scenario(&[&[Task, Thread], &[Task]], 2));
}

fn barriers(members: &[&[As]], mortal: &[As], quits: u32) {
    let world = World::new();
    let n = members.iter().map(|m| m.len()).sum::<usize>() + mortal.len();
    barrier::init(&world.arbiter(), n as u32);
    let postman = world.postman();
    let body = move |seat: &Seat, how| {
        let passed = trip(seat, how, quits).is_some();
        assert!(!passed || barrier::come(seat) == 0 || n > 1);
    };
    let dying = (!mortal.is_empty()).then(|| world.mortal(60).spawn(mortal, body));
    let running: Vec<_> = members.iter().map(|m| world.process().spawn(m, body)).collect();
    let mut sat = false;
    if let Some(dying) = dying {
        let seat = dying.seat().clone();
        dying.bury(Kind::Barrier, |died| sat = died && seat.sits());
    }
    if !sat {
        // Others may wait for one that died before it came, or that quit.
        barrier::abort(&world.arbiter(), None);
    }
    running.into_iter().for_each(Running::join);
    world.stop(postman);
    assert_eq!(table::waiting(&world.arbiter()), 0);
}

#[test]
fn nobody_is_left_in_a_barrier_whoever_quits() {
    check(|| barriers(&[&[Thread, Thread], &[Thread]], &[], 40));
    check(|| barriers(&[&[Task, Thread], &[Task]], &[], 40));
}

#[test]
fn a_barrier_breaks_where_one_dies() {
    check(|| barriers(&[&[Thread], &[Thread]], &[Thread], 0));
    check(|| barriers(&[&[Thread]], &[Thread, Thread], 0));
    check(|| barriers(&[&[Task]], &[Task, Thread], 0));
}
