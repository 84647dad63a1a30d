//! Examples of a documentation page: fenced blocks, each under a line `<!-- snippet: NAME -->`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A named fenced block of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    pub name: String,
    /// Language tag of the fence.
    pub language: String,
    pub text: String,
}

/// Path of a file of the project, given relative to the project's root.
pub fn page(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// All snippets of a page. Errors: a block has no name, so that no test would run it.
pub fn snippets(path: &str) -> Result<Vec<Snippet>> {
    let text = std::fs::read_to_string(page(path)).with_context(|| path.to_owned())?;
    read(&text).with_context(|| path.to_owned())
}

fn read(page: &str) -> Result<Vec<Snippet>> {
    let mut found = Vec::new();
    let mut name = None;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let Some(name) = name.take() else {
                bail!("a block has no line `<!-- snippet: NAME -->` above it: {line}");
            };
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push(Snippet {
                name,
                language: language.to_owned(),
                text: text.join("\n") + "\n",
            });
        } else {
            let named = line.strip_prefix("<!-- snippet: ");
            name = named
                .and_then(|rest| rest.strip_suffix(" -->"))
                .map(str::to_owned);
        }
    }
    Ok(found)
}

/// A snippet of a page, by its name.
pub fn snippet(path: &str, name: &str) -> Result<Snippet> {
    let found = snippets(path)?.into_iter().find(|one| one.name == name);
    found.with_context(|| format!("{path} has no snippet {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_names() {
        let page = "a\n<!-- snippet: x -->\n```sh\necho 1\necho 2\n```\nb\n";
        let found = read(page).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&*found[0].name, &*found[0].language, &*found[0].text),
            ("x", "sh", "echo 1\necho 2\n")
        );
        assert!(read("```sh\nls\n```\n").is_err());
        assert!(read("<!-- snippet: x -->\nwords\n```sh\nls\n```\n").is_err());
    }
}
