//! Which items a flow means: vaults, patterns of names, tags.

use std::collections::BTreeSet;

use super::Checker;
use crate::flow::written::{self, Text, place};
use crate::flow::{Kind, Pattern, Target};
use crate::glob::Glob;

impl Checker<'_> {
    pub(super) fn target(&mut self, target: &written::Target) -> Option<Target> {
        let vault = self.vault(&target.vault);
        if target.items.is_empty() && target.tag.is_none() {
            let message = format!("no item of `{}` is named", target.vault.value);
            let hint = "write `items: [\"vm:*/*\"]` for all machines";
            self.wrong(place(&target.vault), message, hint);
        }
        let items = self.patterns(&target.items);
        let tag = target.tag.as_ref().map(|tag| self.tag(tag));
        let exclude = self.patterns(&target.exclude);
        let (subscription, resource_group, vault) = vault?;
        Some(Target {
            subscription,
            resource_group,
            vault,
            items: items?,
            tag: match tag {
                Some(tag) => Some(tag?),
                None => None,
            },
            exclude: exclude?,
        })
    }

    /// `subscription/resource group/vault`.
    fn vault(&mut self, text: &Text) -> Option<(String, String, String)> {
        let parts = self.parts(text, 3, "`subscription id/resource group/vault`");
        let mut parts = parts?.into_iter();
        Some((parts.next()?, parts.next()?, parts.next()?))
    }

    /// So many names after each other, of which the first is a subscription's id.
    pub(super) fn parts(&mut self, text: &Text, count: usize, form: &str) -> Option<Vec<String>> {
        let parts: Vec<&str> = text.value.split('/').collect();
        let good = |name: &&str| {
            let plain =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '(' | ')');
            !name.is_empty() && name.len() <= 90 && name.chars().all(plain)
        };
        let first = parts
            .first()
            .is_some_and(|first| uuid::Uuid::try_parse(first).is_ok());
        if first && parts.len() == count && parts.iter().all(good) {
            return Some(parts.into_iter().map(str::to_owned).collect());
        }
        let what = form
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_matches('`');
        let message = format!("`{}` is no {what}", text.value);
        self.wrong(place(text), message, format!("write {form}"));
        None
    }

    fn patterns(&mut self, texts: &[Text]) -> Option<Vec<Pattern>> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for text in texts {
            if !seen.insert(text.value.to_lowercase()) {
                self.wrong(
                    place(text),
                    format!("`{}` is named twice", text.value),
                    "leave one out",
                );
            }
            found.push(self.pattern(text));
        }
        found.into_iter().collect()
    }

    fn pattern(&mut self, text: &Text) -> Option<Pattern> {
        let at = place(text);
        let kinds = Kind::ALL.map(|(name, _)| name).join(", ");
        let Some((kind, names)) = text.value.split_once(':') else {
            let message = format!("`{}` does not say what it names", text.value);
            self.wrong(
                at,
                message,
                format!("write a kind before it ({kinds}), as in `vm:rg-app/web-*`"),
            );
            return None;
        };
        let word = text.with(kind.to_owned());
        let kind = self.word(&word, &Kind::ALL, "kind of item")?;
        if names.split('/').count() != 2 {
            let message = format!("`{}` does not have two parts", text.value);
            self.wrong(
                at,
                message,
                "write where it is and its name, as in `vm:rg-app/web-*` or `sql:vm1/payroll`",
            );
            return None;
        }
        match Glob::parse(names) {
            Ok(names) => Some(Pattern {
                kind,
                names,
                text: text.value.clone(),
            }),
            Err(why) => {
                self.wrong(at, why, "write names, with `*` for any letters");
                None
            }
        }
    }

    /// `name=value`, as Azure has tags.
    fn tag(&mut self, text: &Text) -> Option<(String, String)> {
        let parts = text.value.split_once('=');
        let good = |part: &str| {
            !part.trim().is_empty()
                && part.len() <= 256
                && !part.contains(['*', '<', '>', '%', '&', '\\', '?', '\r', '\n'])
        };
        let found = parts.filter(|(name, value)| good(name) && good(value));
        if found.is_none() {
            let message = format!("`{}` is no tag", text.value);
            self.wrong(
                place(text),
                message,
                "write its name and value, as in `tag: \"backup=nightly\"`",
            );
        }
        found.map(|(name, value)| (name.to_owned(), value.to_owned()))
    }
}
