//! `serve`: a web server for trying out.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use image::serve::{Answer, Server};

/// Options of `serve`.
#[derive(Args)]
pub struct Serve {
    /// Directory to serve, for example a repository.
    dir: PathBuf,
    /// Address to listen on; port 0 takes any that is free.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
}

impl Serve {
    pub fn run(self) -> Result<()> {
        let server = Server::start(&self.dir, self.listen, log)?;
        println!("{}", server.url());
        server.wait();
        Ok(())
    }
}

fn log(answer: &Answer) {
    let Answer {
        method,
        path,
        status,
        bytes,
        ..
    } = answer;
    let range = answer.range.as_deref().unwrap_or("-");
    eprintln!("serve: {method} {path} {range}: {status}, {bytes} bytes");
}
