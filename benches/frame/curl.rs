//! `curl`: what the line and the server allow without a filesystem.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::process::Process;
use super::sample::Sample;
use super::server::Server;

/// Content for uploads, in files: whole and cut into as many parts as there are streams.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) whole: PathBuf,
    pub(crate) sha1: String,
    pub(crate) parts: Vec<(PathBuf, String)>,
    pub(crate) size: u64,
}

/// Downloads one object by `streams` ranges at once.
pub(crate) fn download(server: &Server, name: &str, size: u64, streams: u64) -> Result<Sample> {
    let mut transfers = Vec::new();
    for stream in 0..streams {
        let (from, to) = (size * stream / streams, size * (stream + 1) / streams);
        let mut transfer = format!("url = \"{}\"\n", server.url_of(name));
        writeln!(transfer, "header = \"Authorization: {}\"", server.token)?;
        writeln!(transfer, "output = \"/dev/null\"")?;
        if streams > 1 {
            writeln!(transfer, "range = \"{from}-{}\"", to - 1)?;
        }
        transfers.push(transfer);
    }
    server.reset_traffic()?;
    let sample = run(&transfers, "size_download", size)?;
    Ok(sample.with_traffic(server.traffic()?))
}

/// Uploads a file in one call, with its SHA-1, which was computed before.
pub(crate) fn upload(server: &Server, name: &str, content: &Upload) -> Result<Sample> {
    let (url, token) = server.upload_url()?;
    let headers = [
        format!("Authorization: {token}"),
        format!("X-Bz-File-Name: {name}"),
        "Content-Type: b2/x-auto".to_owned(),
        format!("X-Bz-Content-Sha1: {}", content.sha1),
    ];
    let transfer = sending(&url, &content.whole, &headers)?;
    server.reset_traffic()?;
    let sample = run(&[transfer], "size_upload", content.size)?;
    let sample = sample.with_traffic(server.traffic()?);
    server.remove(name)?;
    Ok(sample)
}

/// Uploads a large file's parts at once. Its start, its upload URLs and its end are not in the time.
pub(crate) fn upload_parts(server: &Server, name: &str, content: &Upload) -> Result<Sample> {
    let file = server.start_large(name)?;
    let mut transfers = Vec::new();
    for (number, (path, sha1)) in (1..).zip(&content.parts) {
        let (url, token) = server.part_url(&file)?;
        let headers = [
            format!("Authorization: {token}"),
            format!("X-Bz-Part-Number: {number}"),
            format!("X-Bz-Content-Sha1: {sha1}"),
        ];
        transfers.push(sending(&url, path, &headers)?);
    }
    server.reset_traffic()?;
    let sample = run(&transfers, "size_upload", content.size)?;
    let sample = sample.with_traffic(server.traffic()?);
    let sha1s: Vec<String> = content.parts.iter().map(|(_, sha1)| sha1.clone()).collect();
    server.finish_large(&file, &sha1s)?;
    server.remove(name)?;
    Ok(sample)
}

fn sending(url: &str, file: &std::path::Path, headers: &[String]) -> Result<String> {
    let mut transfer = format!("url = \"{url}\"\nrequest = \"POST\"\noutput = \"/dev/null\"\n");
    writeln!(transfer, "upload-file = \"{}\"", file.display())?;
    writeln!(transfer, "header = \"Expect:\"")?;
    for header in headers {
        writeln!(transfer, "header = \"{header}\"")?;
    }
    Ok(transfer)
}

/// One curl with these transfers at once; `moved` is the variable that must add up to `size`.
fn run(transfers: &[String], moved: &str, size: u64) -> Result<Sample> {
    let mut config =
        "parallel\nparallel-immediate\nparallel-max = 64\nno-progress-meter\n".to_owned();
    for (index, transfer) in transfers.iter().enumerate() {
        if index > 0 {
            config.push_str("next\n");
        }
        config.push_str("fail\nsilent\nshow-error\nnoproxy = \"*\"\n");
        writeln!(
            config,
            "write-out = \"%{{{moved}}} %{{time_starttransfer}}\\n\""
        )?;
        config.push_str(transfer);
    }
    let mut command = Command::new("curl");
    command.args(["--disable", "--config", "-"]);
    let started = Instant::now();
    let mut process = Process::piped(&command)?;
    let mut input = process.child().stdin.take().context("a pipe")?;
    input.write_all(config.as_bytes())?;
    drop(input);
    let (said, usage) = process.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    let mut total = 0;
    let mut first = f64::INFINITY;
    for line in said.lines() {
        let (bytes, begun) = line
            .split_once(' ')
            .context("what curl was told to write")?;
        total += bytes.parse::<u64>()?;
        first = first.min(begun.parse()?);
    }
    if total != size {
        bail!("curl moved {total} bytes of {size}");
    }
    Ok(Sample {
        value: Sample::rate(size, seconds),
        first: Some(first).filter(|_| moved == "size_download"),
        cpu_per_gib: Some(Sample::per_gib(usage.cpu, size)),
        ..Sample::default()
    })
}
