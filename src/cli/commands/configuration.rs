//! config, plan.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use crate::{
    cli::{
        exit::{ExitStatus, Failure},
        output::changes,
    },
    pb,
};

use super::Session;

/// Largest candidate: what a gRPC server takes in one message by default.
const MAX_CANDIDATE: u64 = 4 << 20;

impl Session<'_, '_> {
    pub(super) async fn config(&mut self) -> Result<(), Failure> {
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().get_config(pb::GetConfigRequest {})).await?;
        self.console.answer(&answer, |_| match answer.toml.strip_suffix('\n') {
            Some(toml) => format!("{toml}\n"),
            None => format!("{}\n", answer.toml),
        })
    }

    pub(super) async fn plan(&mut self, file: Option<&Path>, exit_code: bool) -> Result<ExitStatus, Failure> {
        let toml = candidate(file)?;
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().plan(pb::PlanRequest { toml })).await?;
        self.console.answer(&answer, |_| changes::plan(&answer))?;
        match (answer.obstacles.len(), answer.changes.len()) {
            (0, 0) => Ok(ExitStatus::Done),
            (0, _) if exit_code => Ok(ExitStatus::WouldChange),
            (0, _) => Ok(ExitStatus::Done),
            _ => Err(Failure::Refused("a reload cannot apply this; nothing has changed".to_owned())),
        }
    }
}

/// The text of a candidate; empty stands for the daemon's own file.
pub(super) fn candidate(file: Option<&Path>) -> Result<String, Failure> {
    let Some(path) = file else { return Ok(String::new()) };
    let (name, text) = if path == Path::new("-") {
        ("standard input".to_owned(), read(io::stdin().lock()))
    } else {
        (path.display().to_string(), File::open(path).and_then(read))
    };
    let text = text.map_err(|error| Failure::Usage(format!("cannot read {name}: {error}")))?;
    if text.trim().is_empty() {
        // As a request it would mean the daemon's own file: surely not what a failed `generate | netctl reload -` means.
        return Err(Failure::Usage(format!("{name} is empty; leave FILE out to take the daemon's own file")));
    }
    Ok(text)
}

fn read(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(MAX_CANDIDATE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_CANDIDATE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 4 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_bounded_and_must_be_text() {
        assert_eq!(read(&b"a = 1"[..]).unwrap(), "a = 1");
        assert_eq!(read(&b"\xff"[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(io::repeat(b' ')).unwrap_err().to_string(), "more than 4 MiB");
    }

    #[test]
    fn an_empty_file_is_not_the_daemons_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = candidate(Some(file.path())).unwrap_err();
        assert_eq!(error.status(), ExitStatus::Usage);
        assert!(error.message().contains("is empty"), "{error:?}");
        assert_eq!(candidate(None).unwrap(), "");
    }
}
