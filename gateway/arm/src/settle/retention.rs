//! Backup policies compared: the least that is kept in every dimension counts.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Settled, unknown};
use crate::class::Class;
use crate::json::Value;

/// Compares two backup policies.
pub(super) fn policy(before: &Value, after: &Value) -> Settled {
    let (Some(before), Some(after)) = (before.member("properties"), after.member("properties"))
    else {
        return unknown("shape");
    };
    let (mut kept, mut keeps) = (Walk::default(), Walk::default());
    kept.walk(before, "");
    keeps.walk(after, "");
    if kept.odd || keeps.odd || kept.days.is_empty() {
        return unknown("shape");
    }
    let mut removed = 0;
    let mut dimensions = serde_json::Map::new();
    for (path, days) in &kept.days {
        let now = keeps.days.get(path).copied().unwrap_or(0);
        let less = now - days;
        if less < 0 {
            removed = removed.min(less);
            dimensions.insert(path.clone(), json!({"from": days, "to": now}));
        }
    }
    let schedule = kept.schedules != keeps.schedules;
    let mut delta = json!({});
    if let Some(delta) = delta.as_object_mut() {
        if removed < 0 {
            delta.insert("retention_days".into(), removed.into());
            delta.insert("retention".into(), dimensions.into());
        }
        if schedule {
            // Whether another schedule is thinner is not told from its text.
            delta.insert("schedule_changed".into(), true.into());
        }
    }
    let class = if removed < 0 || schedule {
        Class::Weaken
    } else {
        Class::Configure
    };
    Settled { class, delta }
}

/// Durations and schedules of a policy, by where they stand.
#[derive(Default)]
struct Walk {
    days: BTreeMap<String, i64>,
    schedules: BTreeMap<String, String>,
    odd: bool,
}

impl Walk {
    fn walk(&mut self, value: &Value, at: &str) {
        match value {
            Value::Object(members) => {
                if let Some(days) = duration(value) {
                    self.days.insert(at.to_owned(), days);
                    return;
                }
                for (name, value) in members {
                    let path = format!("{at}/{name}");
                    match name.as_str() {
                        "schedulePolicy" | "trigger" | "scheduleTimes" | "retentionTimes" => {
                            let text = value.to_serde().to_string();
                            self.schedules.insert(path, text);
                        }
                        "retentionDuration" => match duration(value) {
                            Some(days) => {
                                self.days.insert(path, days);
                            }
                            None => self.odd = true,
                        },
                        "duration" => match value.as_str().and_then(iso_days) {
                            Some(days) => {
                                self.days.insert(path, days);
                            }
                            None => self.odd = true,
                        },
                        "instantRpRetentionRangeInDays" | "retentionDurationInDays" => {
                            match value.as_i64() {
                                Some(days) => {
                                    self.days.insert(path, days);
                                }
                                None => self.odd = true,
                            }
                        }
                        _ => self.walk(value, &path),
                    }
                }
            }
            Value::Array(elements) => {
                for (place, element) in elements.iter().enumerate() {
                    // Rules are found by their name: their order says nothing.
                    let name = ["name", "policyType"]
                        .iter()
                        .find_map(|n| element.member(n).and_then(Value::as_str));
                    let place = name.map_or_else(|| place.to_string(), str::to_owned);
                    self.walk(element, &format!("{at}/{place}"));
                }
            }
            _ => {}
        }
    }
}

/// Days of `{"count": 30, "durationType": "Days"}`.
fn duration(value: &Value) -> Option<i64> {
    let count = value
        .member("count")?
        .as_i64()
        .filter(|count| *count >= 0)?;
    let unit = match value.member("durationType")?.as_str()? {
        "Days" => 1,
        "Weeks" => 7,
        "Months" => 30,
        "Years" => 365,
        _ => return None,
    };
    count.checked_mul(unit)
}

/// Days of `P30D`, `P12W`, `P6M` or `P1Y`.
fn iso_days(text: &str) -> Option<i64> {
    let rest = text.strip_prefix('P')?;
    let unit = rest.chars().last()?;
    let count: i64 = rest
        .strip_suffix(unit)?
        .parse()
        .ok()
        .filter(|count| *count >= 0)?;
    let unit = match unit {
        'D' => 1,
        'W' => 7,
        'M' => 30,
        'Y' => 365,
        _ => return None,
    };
    count.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::{Class, policy};
    use crate::json::Document;

    fn settled(before: &str, after: &str) -> Option<(Class, Option<i64>)> {
        let before = Document::parse(before.as_bytes()).ok()?;
        let after = Document::parse(after.as_bytes()).ok()?;
        let settled = policy(before.root(), after.root());
        let days = settled
            .delta
            .get("retention_days")
            .and_then(serde_json::Value::as_i64);
        Some((settled.class, days))
    }

    fn vm(days: u32, years: Option<u32>) -> String {
        let yearly = years.map_or(String::new(), |y| {
            format!(r#","yearlySchedule":{{"retentionDuration":{{"count":{y},"durationType":"Years"}}}}"#)
        });
        format!(
            r#"{{"properties":{{"backupManagementType":"AzureIaasVM","retentionPolicy":{{"dailySchedule":{{"retentionDuration":{{"count":{days},"durationType":"Days"}}}}{yearly}}}}}}}"#
        )
    }

    #[test]
    fn the_minimum_over_every_dimension_counts() {
        let cases = [
            (vm(30, None), vm(7, None), Some((Class::Weaken, Some(-23)))),
            (
                vm(30, Some(2)),
                vm(60, None),
                Some((Class::Weaken, Some(-730))),
            ),
            (
                vm(30, None),
                vm(30, Some(1)),
                Some((Class::Configure, None)),
            ),
            (vm(30, None), vm(30, None), Some((Class::Configure, None))),
        ];
        for (before, after, expected) in cases {
            assert_eq!(settled(&before, &after), expected, "{after}");
        }
    }

    #[test]
    fn a_shape_that_is_not_understood_is_weakening() {
        let odd =
            r#"{"properties":{"retentionPolicy":{"dailySchedule":{"retentionDuration":"long"}}}}"#;
        assert_eq!(settled(&vm(30, None), odd), Some((Class::Weaken, None)));
        assert_eq!(
            settled(r#"{"properties":{}}"#, &vm(1, None)),
            Some((Class::Weaken, None))
        );
        let dp = |days: &str| {
            format!(
                r#"{{"properties":{{"policyRules":[{{"name":"Default","lifecycles":[{{"deleteAfter":{{"duration":"{days}"}}}}]}}]}}}}"#
            )
        };
        assert_eq!(
            settled(&dp("P30D"), &dp("P7D")),
            Some((Class::Weaken, Some(-23)))
        );
        assert_eq!(
            settled(&dp("P30D"), &dp("P1Y")),
            Some((Class::Configure, None))
        );
    }
}
