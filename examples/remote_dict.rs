//! A dict in one program that another one changes over the network.
//!
//! Shows that
//! - `Manager::serve` has objects for other programs, that know its address and one of its keys;
//! - each client has its own name, key and rights;
//! - the programs find an object by the name it was given.
//!
//! Run `cargo run --example remote_dict serve 127.0.0.1:7000` in one terminal, and
//! `cargo run --example remote_dict set 127.0.0.1:7000 Ann 3` or `… show 127.0.0.1:7000` in another. Without arguments it
//! is a server that starts its own clients.
//!
//! An address that other machines can reach needs TLS (`ServeOptions::tls`, feature `tls`).

use std::error::Error;

use procpool::manager::{AuthKey, ConnectOptions, Rights, ServeOptions};
use procpool::{DictProxy, Manager, ManagerHandle};

type Scores = DictProxy<String, i64>;
type Done = Result<(), Box<dyn Error>>;

/// Real ones are random, and come from a file or a variable that nobody else can read.
const WRITERS_KEY: &str = "what writers know";
const READERS_KEY: &str = "what readers know";

async fn serve(address: &str) -> Result<Manager, Box<dyn Error>> {
    let options = ServeOptions::new()
        .client("writer", AuthKey::new(WRITERS_KEY), Rights::none())
        .client("reader", AuthKey::new(READERS_KEY), Rights::none().read_only());
    let manager = Manager::serve(address, options).await?;
    let scores: Scores = manager.dict([("Adam".to_owned(), 9)]).await?;
    manager.publish("scores", &scores).await?;
    Ok(manager)
}

async fn connect(address: &str, name: &str, key: &str) -> Result<ManagerHandle, Box<dyn Error>> {
    let options = ConnectOptions::new(name, AuthKey::new(key));
    Ok(Manager::connect(address, options).await?)
}

async fn set(address: &str, name: &str, score: &str) -> Done {
    let scores: Scores = connect(address, "writer", WRITERS_KEY).await?.find("scores").await?;
    scores.set(&name.to_owned(), &score.parse()?).await?;
    println!("{name} is set to {score}");
    Ok(())
}

async fn show(address: &str) -> Done {
    let scores: Scores = connect(address, "reader", READERS_KEY).await?.find("scores").await?;
    for (name, score) in scores.items().await? {
        println!("{name}: {score}");
    }
    match scores.set(&"Adam".to_owned(), &100).await {
        Ok(()) => println!("a reader has changed it"),
        Err(error) => println!("a reader is told: {error}"),
    }
    Ok(())
}

/// Another program, which happens to be this one.
async fn run(args: Vec<String>) -> Done {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(args);
    let status = tokio::task::spawn_blocking(move || command.status()).await??;
    if status.success() { Ok(()) } else { Err(format!("a client failed: {status}").into()) }
}

#[procpool::main]
async fn main() -> Done {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve", address] => {
            let manager = serve(address).await?;
            println!("serving at {}", manager.address());
            std::future::pending().await
        }
        ["set", address, name, score] => set(address, name, score).await,
        ["show", address] => show(address).await,
        [] => {
            let manager = serve("127.0.0.1:0").await?;
            let address = manager.address().to_string();
            run(vec!["set".into(), address.clone(), "Sam".into(), "10".into()]).await?;
            run(vec!["show".into(), address.clone()]).await?;
            if let Err(error) = connect(&address, "writer", READERS_KEY).await {
                println!("with the wrong key: {error}");
            }
            let scores: Scores = manager.find("scores").await?;
            println!("here: {:?}", scores.get("Sam").await?);
            manager.shutdown().await?;
            Ok(())
        }
        _ => Err("arguments: serve ADDRESS | set ADDRESS NAME SCORE | show ADDRESS".into()),
    }
}
