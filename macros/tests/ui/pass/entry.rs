//! Every form of `#[main]` and `#[test]`.

#![forbid(unsafe_code)]
#![deny(warnings, unused_qualifications, unused_results)]

mod plain {
    #[procpool::main]
    pub fn main() {}

    #[procpool::main]
    pub fn with_a_result() -> Result<(), String> {
        Err("no")?;
        Ok(())
    }
}

/// With documentation.
#[procpool::main(flavor = "current_thread", crate = procpool)]
#[allow(dead_code)]
async fn current_thread() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}

#[procpool::main(flavor = "multi_thread", worker_threads = 2)]
pub async fn multi_thread() {}

#[procpool::test]
async fn passes() {}

#[procpool::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "no"]
async fn with_a_result() -> Result<(), String> {
    Ok(())
}

#[procpool::test]
#[should_panic(expected = "yes")]
async fn panics() {
    panic!("yes");
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number: u32 = "3".parse()?;
    assert_eq!(std::future::ready(number).await, 3);
    plain::main();
    assert!(plain::with_a_result().is_err());
    Ok(())
}
