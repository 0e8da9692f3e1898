//! The program: reads the configuration, makes the application, runs it, and ends it when told to.
#![expect(
    clippy::print_stderr,
    reason = "a program speaks to whoever started it"
)]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{IsTerminal, Write, stdin, stdout};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use roomcast::config::{Config, Program, Refused, UserVerb, Verb, reference};

use roomcast::app::OpenError;
use roomcast::bench;
use roomcast::remote::{self, Heard, Said};
use roomcast::store::{self, Store};
use roomcast::token::{self, Claims};
use roomcast::{Roomcast, accounts, dev, server, telemetry};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Gives back the 19 MiB of each password hash, which glibc's would keep: measured with 120 logins at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Files that are open beside connections.
const RESERVED_FILES: u64 = 100;

/// The exit code for a configuration that is refused (sysexits.h, `EX_CONFIG`).
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    take_small_pages();
    let dotenv = match dotenv() {
        Ok(dotenv) => dotenv,
        Err(error) => return refuse(&format!(".env: {error}")),
    };
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let program = Program::parse_with_dotenv(std::env::args_os(), &environment, &dotenv);
    let program = match program {
        Ok(program) => program,
        Err(Refused::Message(message)) => return refuse(&message),
        Err(Refused::Clap(error)) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    let telemetry = telemetry::start(&program.config);
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from);
    let ended = ended.and_then(|runtime| {
        let ended = runtime.block_on(run(program));
        // A thread may still be printing to somebody who does not read.
        runtime.shutdown_background();
        ended
    });
    telemetry.end();
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps the kernel from giving out 2 MiB at once, each of which it has to clear before anything goes on. Measured: a
/// tenth more connections opened a second, and less memory; delivering is as fast.
fn take_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// What `.env` says, in the folder where the program was started or above it.
fn dotenv() -> Result<BTreeMap<String, String>, dotenvy::Error> {
    match dotenvy::dotenv_iter() {
        Ok(lines) => lines.collect(),
        Err(error) if error.not_found() => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(EXIT_CONFIG)
}

async fn run(program: Program) -> anyhow::Result<ExitCode> {
    let config = program.config;
    match program.verb.unwrap_or(Verb::Serve { replace: false }) {
        Verb::Serve { replace } => {
            serve(
                config,
                Start {
                    replace,
                    demo: None,
                },
            )
            .await
        }
        Verb::Dev { watch } => {
            let (config, _folder) = dev::configure(config)?;
            let start = Start {
                replace: false,
                demo: Some(watch),
            };
            serve(config, start).await
        }
        Verb::Check => {
            server::Certificate::of(&config)?;
            Store::check(&config.database_url).await?;
            say("The configuration is good, and the database can be used.");
            for doubt in config.doubts() {
                say(&format_args!("warning: {doubt}"));
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Config { docs: true, .. } => {
            say(reference::markdown().trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Config { json: true, .. } => {
            say(&reference::json(&program.settings));
            Ok(ExitCode::SUCCESS)
        }
        Verb::Config { .. } => {
            say(&reference::lines(&program.settings));
            Ok(ExitCode::SUCCESS)
        }
        Verb::Healthcheck => {
            remote::healthcheck(&config).await?;
            say("ready");
            Ok(ExitCode::SUCCESS)
        }
        Verb::User {
            verb:
                UserVerb::Add {
                    name,
                    admin,
                    password_stdin,
                },
        } => {
            let password = if password_stdin || !stdin().is_terminal() {
                accounts::read_password(&mut stdin().lock())?
            } else {
                ask_for_password().await?
            };
            let user = accounts::add(&config, &name, admin, password).await?;
            say(&user.id);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Publish {
            channel,
            event,
            json,
            volatile,
            delay,
            server,
        } => {
            let said = Said {
                channel: &channel,
                event: &event,
                json: &json,
                volatile,
                delay,
            };
            remote::publish(&config, server.as_deref(), &said).await?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Tail {
            channel: channels,
            since,
            all,
            server,
        } => {
            let mut signals = Signals::listen()?;
            let heard = Heard {
                channels: &channels,
                since: since.as_deref(),
                all,
            };
            tokio::select! {
                ended = remote::tail(&config, server.as_deref(), &heard) => ended?,
                () = signals.stop() => {}
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Bench { load, json, server } => {
            let (files, needed) = (raise_file_limit(), load.files() + RESERVED_FILES);
            anyhow::ensure!(
                files >= needed,
                "the system allows {files} open files, and this needs {needed}; raise that with ulimit -n, or ask for fewer --connections"
            );
            let mut signals = Signals::listen()?;
            let stop = async || signals.stop().await;
            let report = bench::run(&config, server.as_deref(), &load, stop).await?;
            if json {
                say(&report.json());
            } else {
                say(&report);
            }
            Ok(if report.is_clean() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Verb::Token {
            user,
            ttl,
            name,
            channel,
        } => {
            let Some(secret) = &config.token_secret else {
                return Ok(refuse(
                    "ROOMCAST_TOKEN_SECRET is not set\n  example   ROOMCAST_TOKEN_SECRET=$(openssl rand -hex 32)",
                ));
            };
            let expires = token::end_of(OffsetDateTime::now_utc(), ttl)
                .ok_or_else(|| anyhow::anyhow!("it would end after the year 9999"))?;
            let mut claims = Claims::new(user, expires);
            (claims.name, claims.channels) = (name.map(Into::into), channel.into());
            say(&token::mint(secret, &claims)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// How a server begins.
struct Start {
    replace: bool,
    /// What is watched, where it is a demo.
    demo: Option<Vec<PathBuf>>,
}

async fn serve(config: Config, start: Start) -> anyhow::Result<ExitCode> {
    // Heard from the first moment on.
    let mut signals = Signals::listen()?;
    let certificate = server::Certificate::of(&config)?.map(Arc::new);
    let (scheme, max_connections) = (config.scheme(), config.max_connections);
    let files = raise_file_limit();
    if files < max_connections as u64 + RESERVED_FILES {
        tracing::info!(
            "the system allows {files} open files, fewer than ROOMCAST_MAX_CONNECTIONS={max_connections}; see ulimit -n, or LimitNOFILE of systemd"
        );
    }
    let (listener, ops) = listeners(&config, start.replace).await?;
    let address = listener.local_addr()?;
    let app = open(config, start.replace).await?;
    let introduction = match start.demo {
        Some(mut watched) => {
            watched.extend(dev::reload::pages());
            dev::reload::watch(&app, &watched)?;
            Some(dev::fill(&app).await?.introduction(address))
        }
        None => None,
    };
    let sockets: Vec<&TcpListener> = std::iter::once(&listener).chain(&ops).collect();
    let control = server::handover::Control::open(&sockets)
        .inspect_err(|error| tracing::warn!(%error, "this server cannot be replaced while it runs"))
        .ok();
    let routes = app.router().merge(app.pages());
    server::open(&app, listener, routes, certificate.clone());
    if let Some(ops) = ops {
        server::open(&app, ops, app.ops_router(), None);
    }
    say(&format_args!("listening on {scheme}://{address}"));
    if let Some(introduction) = introduction {
        say(&introduction);
    }
    server::systemd::ready(&app);
    let successor = loop {
        tokio::select! {
            successor = asked(control.as_ref()) => break Some(successor),
            asked = signals.next() => match (asked, &certificate) {
                (Asked::Stop, _) => break None,
                (Asked::Reload, Some(certificate)) => certificate.reload(),
                (Asked::Reload, None) => {}
            },
        }
    };
    // Its name is for the successor from now on.
    drop(control);
    server::systemd::stopping();
    match (&successor, app.config().drain_delay) {
        (Some(_), _) => {
            tracing::info!("another server takes over; clients are sent to it");
            app.hand_over();
        }
        (None, Some(delay)) => {
            tracing::info!(
                "not ready any more; shutting down in {delay:?}; ask again to do so now"
            );
            app.drain();
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = signals.stop() => {}
            }
        }
        (None, None) => {}
    }
    tracing::info!("shutting down; ask again to end at once");
    app.stop();
    tokio::select! {
        ended = app.wait() => {
            if !ended {
                tracing::warn!("some requests or connections did not end in time");
            }
            Ok(ExitCode::SUCCESS)
        }
        () = signals.stop() => Ok(ExitCode::FAILURE),
    }
}

/// Opens the application. A predecessor that did not end in time has the database for a moment longer.
async fn open(config: Config, replace: bool) -> anyhow::Result<Roomcast> {
    let mut left = if replace { 50 } else { 0 };
    loop {
        match Roomcast::open(config.clone()).await {
            Err(OpenError::Store(store::OpenError::InUse(_))) if left > 0 => left -= 1,
            opened => return Ok(opened?),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The server's socket, and that for operators: of systemd, of the server to be replaced, or new ones.
async fn listeners(
    config: &Config,
    replace: bool,
) -> anyhow::Result<(TcpListener, Option<TcpListener>)> {
    let mut inherited = if replace {
        take_over(config).await?
    } else {
        None
    };
    let mut inherit = |address| inherited.as_mut().and_then(|from| from.take(address));
    let listener = match inherit(config.listen) {
        Some(listener) => listener,
        None => match server::systemd::activated()? {
            Some(listener) => listener,
            None => server::listen(config.listen).await?,
        },
    };
    let ops = match config.ops_listen {
        None => None,
        Some(address) => Some(match inherit(address) {
            Some(listener) => listener,
            None => listen_for_operators(address).await?,
        }),
    };
    Ok((listener, ops))
}

/// Has a running server end, and gets its sockets; nothing, where there is none.
async fn take_over(config: &Config) -> anyhow::Result<Option<server::handover::Inheritance>> {
    anyhow::ensure!(
        config.listen.port() != 0,
        "--replace needs to know where the server is: a port that is not 0\n  example   ROOMCAST_LISTEN=127.0.0.1:3000"
    );
    // What would keep this server from starting is to be known before the other one ends.
    Store::check(&config.database_url).await?;
    let Some(mut inheritance) =
        server::handover::take_over(config.listen, config.ops_listen).await?
    else {
        tracing::info!("there is no server at {} to replace", config.listen);
        return Ok(None);
    };
    tracing::info!("the server at {} is ending", config.listen);
    inheritance.wait().await;
    Ok(Some(inheritance))
}

async fn asked(control: Option<&server::handover::Control>) -> server::handover::Successor {
    match control {
        Some(control) => control.asked().await,
        None => std::future::pending().await,
    }
}

/// As many files as the system allows, and how many that are: each connection is one. Many systems begin with 1,024.
fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files could not be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What the operating system asks of the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

#[derive(PartialEq)]
enum Asked {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    async fn stop(&mut self) {
        while self.next().await == Asked::Reload {}
    }
}

async fn listen_for_operators(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        anyhow::anyhow!(
            "cannot listen on {address}: {error}\n  example   ROOMCAST_OPS_LISTEN=127.0.0.1:9090"
        )
    })?;
    tracing::info!(address = %listener.local_addr()?, "health and metrics are answered without a login");
    Ok(listener)
}

/// Asks for a password twice, without showing it. Listening for interrupts keeps them from ending the process while the
/// terminal's echo is off: the prompt then ends instead, and switches it on again.
async fn ask_for_password() -> anyhow::Result<String> {
    let _interrupts = signal(SignalKind::interrupt())?;
    let asking = tokio::task::spawn_blocking(|| -> anyhow::Result<String> {
        let password = rpassword::prompt_password("Password: ")?;
        let again = rpassword::prompt_password("Again: ")?;
        anyhow::ensure!(password == again, "those were two passwords");
        Ok(password)
    });
    asking.await?
}

/// Says something on standard output. Nobody may be listening there any more; that is no reason to end.
fn say(what: &(impl Display + ?Sized)) {
    let _ = writeln!(stdout(), "{what}");
}
