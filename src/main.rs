//! The program: reads the configuration, makes the application, runs it, and ends it when told to.
#![expect(
    clippy::print_stderr,
    reason = "a program speaks to whoever started it"
)]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::pending;
use std::io::{IsTerminal, Write, stdin, stdout};
use std::net::SocketAddr;
use std::process::ExitCode;

use roomcast::config::{Config, Program, Refused, UserVerb, Verb};
use roomcast::remote::{self, Heard, Said};
use roomcast::store::Store;
use roomcast::token::{self, Claims};
use roomcast::{Roomcast, accounts, dev, server, telemetry};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Gives back the 19 MiB of each password hash, which glibc's would keep: measured with 120 logins at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code for a configuration that is refused (sysexits.h, `EX_CONFIG`).
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let environment = match environment() {
        Ok(environment) => environment,
        Err(error) => return refuse(&format!(".env: {error}")),
    };
    let program = match Program::parse_from_parts(std::env::args_os(), &environment) {
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

/// What the environment says, and `.env` where the environment says nothing.
fn environment() -> Result<BTreeMap<String, String>, dotenvy::Error> {
    let mut variables = BTreeMap::new();
    match dotenvy::dotenv_iter() {
        Ok(lines) => {
            for line in lines {
                let (name, value) = line?;
                variables.insert(name, value);
            }
        }
        Err(error) if error.not_found() => {}
        Err(error) => return Err(error),
    }
    let known = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    variables.extend(known);
    Ok(variables)
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(EXIT_CONFIG)
}

async fn run(program: Program) -> anyhow::Result<ExitCode> {
    let config = program.config;
    match program.verb.unwrap_or(Verb::Serve) {
        Verb::Serve => serve(config, false).await,
        Verb::Dev => {
            let (config, _folder) = dev::configure(config)?;
            serve(config, true).await
        }
        Verb::Check => {
            Store::check(&config.database_url).await?;
            say("The configuration is good, and the database can be used.");
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
            let (mut terminate, mut interrupt) = (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            );
            let heard = Heard {
                channels: &channels,
                since: since.as_deref(),
                all,
            };
            tokio::select! {
                ended = remote::tail(&config, server.as_deref(), &heard) => ended?,
                () = asked_to_stop(&mut terminate, &mut interrupt) => {}
            }
            Ok(ExitCode::SUCCESS)
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

async fn serve(config: Config, demo: bool) -> anyhow::Result<ExitCode> {
    // Heard from the first moment on.
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let listener = server::listen(config.listen).await?;
    let address = listener.local_addr()?;
    let ops = match config.ops_listen {
        Some(address) => Some(listen_for_operators(address).await?),
        None => None,
    };
    let app = Roomcast::open(config).await?;
    let introduction = if demo {
        Some(dev::fill(&app).await?.introduction(address))
    } else {
        None
    };
    let serving = server::serve(&app, listener, app.router());
    let operators = async {
        match ops {
            Some(ops) => server::serve(&app, ops, app.ops_router()).await,
            None => pending().await,
        }
    };
    say(&format_args!("listening on http://{address}"));
    if let Some(introduction) = introduction {
        say(&introduction);
    }
    tokio::select! {
        () = serving => {}
        () = operators => {}
        () = asked_to_stop(&mut terminate, &mut interrupt) => {}
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
        () = asked_to_stop(&mut terminate, &mut interrupt) => Ok(ExitCode::FAILURE),
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

async fn asked_to_stop(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
