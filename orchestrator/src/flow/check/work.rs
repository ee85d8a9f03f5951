//! What the runs of a flow do: back up, try restores, look at how long backups are kept.

use super::Checker;
use crate::duration::Length;
use crate::flow::written::{self, Text, place};
use crate::flow::{Drill, Expected, Kind, Target, Work};

impl Checker<'_> {
    /// The work of a region, by the kind of its flow. What another kind needs is no setting of it.
    pub(super) fn work(
        &mut self,
        kind: Option<&Text>,
        region: &written::Region,
        usual: &written::Settings,
    ) -> Option<Work> {
        let word = match kind {
            Some(kind) => self.word(kind, &Work::ALL, "kind of flow")?,
            None => "backup",
        };
        let drill = region.drill.as_ref().or(usual.drill.as_ref());
        let retention = region.retention.as_ref().or(usual.retention.as_ref());
        let at = kind.unwrap_or(&region.schedule.cron);
        if let Some(drill) = drill.filter(|_| word != "drill") {
            let message = "`drill` is a setting of flows that try restores";
            self.wrong(place(&drill.mode), message, "write `kind: restore-drill`");
        }
        if retention.is_some() && word != "retention" {
            let message = "`retention` is a setting of flows that review it";
            self.wrong(place(at), message, "write `kind: retention-review`");
        }
        match (word, drill, retention) {
            ("drill", Some(drill), _) => self.drill(drill).map(Work::Drill),
            ("drill", None, _) => {
                let hint = "write `drill: { mode: validate, resource_group: …, storage_account: …, location: … }`";
                self.wrong(place(at), "a drill does not say where it restores to", hint);
                None
            }
            ("retention", _, Some(expected)) => self.expected(expected, at).map(Work::Review),
            ("retention", _, None) => {
                let hint = "write `retention: { daily: 30d }`";
                self.wrong(place(at), "a review does not say what it expects", hint);
                None
            }
            _ => Some(Work::Backup),
        }
    }

    /// Only machines are restored beside what they are.
    pub(super) fn drilled(&mut self, work: &Work, targets: &[written::Target], found: &[Target]) {
        if !matches!(work, Work::Drill(_)) {
            return;
        }
        for (target, own) in targets.iter().zip(found) {
            for (text, pattern) in target.items.iter().zip(&own.items) {
                if pattern.kind != Kind::Vm {
                    let message = format!("`{}` cannot be restored by a drill", text.value);
                    self.wrong(
                        place(text),
                        message,
                        "drills restore the disks of machines: name `vm:` items",
                    );
                }
            }
        }
    }

    fn drill(&mut self, drill: &written::Drill) -> Option<Drill> {
        let modes = [("validate", false), ("restore", true)];
        let restores = self.word(&drill.mode, &modes, "way to try a restore");
        let group = self.parts(&drill.resource_group, 2, "`subscription id/resource group`");
        let account = self.parts(
            &drill.storage_account,
            3,
            "`subscription id/resource group/storage account`",
        );
        let location = &drill.location.value;
        let plain = !location.is_empty()
            && location
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !plain {
            let message = format!("`{location}` is no region of Azure");
            self.wrong(
                place(&drill.location),
                message,
                "write it as Azure does, as in `westeurope`",
            );
        }
        let (group, account) = (group?, account?);
        let (subscription, own) = (group.first()?, group.get(1)?);
        Some(Drill {
            restores: restores?,
            resource_group: format!("/subscriptions/{subscription}/resourceGroups/{own}"),
            storage_account: format!(
                "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Storage/storageAccounts/{}",
                account.first()?,
                account.get(1)?,
                account.get(2)?
            ),
            location: location.clone(),
        })
    }

    fn expected(&mut self, expected: &written::Retention, at: &Text) -> Option<Expected> {
        let least = Length::seconds(86_400);
        let most = Length::seconds(9_999 * 86_400);
        let daily = expected.daily.as_ref();
        let daily = daily.map(|text| self.between(Some(text), least, most, least));
        let immutability = self.each(
            expected.immutability.as_deref(),
            &["Disabled", "Unlocked", "Locked"],
            "state of immutability",
        );
        let soft_delete = self.each(
            expected.soft_delete.as_deref(),
            &["AlwaysON", "Enabled", "Disabled"],
            "state of soft delete",
        );
        let expected = Expected {
            daily,
            immutability: immutability?,
            soft_delete: soft_delete?,
        };
        if expected.daily.is_none()
            && expected.immutability.is_empty()
            && expected.soft_delete.is_empty()
        {
            self.wrong(
                place(at),
                "a review expects nothing",
                "write `retention: { daily: 30d }`",
            );
        }
        Some(expected)
    }

    fn each(
        &mut self,
        texts: Option<&[Text]>,
        known: &[&'static str],
        what: &str,
    ) -> Option<Vec<String>> {
        let known: Vec<(&str, &str)> = known.iter().map(|word| (*word, *word)).collect();
        let words = texts.into_iter().flatten();
        let words: Vec<Option<&str>> = words.map(|text| self.word(text, &known, what)).collect();
        words
            .into_iter()
            .map(|word| word.map(str::to_owned))
            .collect()
    }
}
