//! From a file as it is written to a flow: every value checked, every problem told.

use jiff::civil::{Time, Weekday};

mod target;
mod work;

use super::written::{self, Number, Text, place};
use super::{
    Checks, Deadline, Event, Flow, Notify, Poll, RecoveryPoint, Region, Retry, Target, Tier, Window,
};
use crate::duration::Length;
use crate::problem::{Place, Problem, nearest};
use crate::schedule::{Catchup, Overlap, Schedule, cron, zone};

/// Most items that are started at a time.
const MAX_PARALLEL: i64 = 100;
/// States that jobs of Azure Backup end in.
const JOB_STATES: [&str; 4] = ["Completed", "CompletedWithWarnings", "Failed", "Cancelled"];
const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// What was found, and what is wrong.
struct Checker<'p> {
    problems: &'p mut Vec<Problem>,
}

/// The flow of a file; none where something is wrong that leaves no flow.
pub(super) fn flow(
    file: &written::File,
    digest: String,
    problems: &mut Vec<Problem>,
) -> Option<Flow> {
    let mut check = Checker { problems };
    if file.version.value != 1 {
        let message = format!("version {} is not known", file.version.value);
        check.wrong(place(&file.version), message, "write `version: 1`");
    }
    let name = check.name(&file.flow, "a flow");
    let owner = check.mail(&file.owner);
    let gateway = check.url(&file.gateway.url);
    let identity = check.name(&file.gateway.identity, "an identity");
    if file.regions.is_empty() {
        let message = "there is no region";
        check.wrong(
            place(&file.flow),
            message,
            "write at least one region with its schedule and targets",
        );
    }
    let mut regions = Vec::new();
    for (name, region) in &file.regions {
        let at = place(&region.schedule.cron);
        check.plain(name, at, "a region");
        regions.extend(check.region(name, region, file));
    }
    let notify = file
        .notify
        .iter()
        .map(|(name, notify)| check.notify(name, notify));
    let notify: Option<Vec<Notify>> = notify.collect();
    Some(Flow {
        name: name?,
        owner: owner?,
        gateway: gateway?,
        identity: identity?,
        digest,
        regions,
        notify: notify?,
    })
}

impl Checker<'_> {
    fn wrong(&mut self, at: Place, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::at(at, message).hint(hint));
    }

    /// Letters, digits and hyphens: it stands in paths, policies and records.
    fn plain(&mut self, name: &str, at: Place, what: &str) -> bool {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let ends = name.starts_with('-') || name.ends_with('-');
        if !name.is_empty() && name.len() <= 64 && !ends && name.chars().all(good) {
            return true;
        }
        let hint = "use up to 64 small letters, digits and hyphens between them";
        self.wrong(at, format!("`{name}` is no name of {what}"), hint);
        false
    }

    fn name(&mut self, text: &Text, what: &str) -> Option<String> {
        self.plain(&text.value, place(text), what)
            .then(|| text.value.clone())
    }

    fn mail(&mut self, text: &Text) -> Option<String> {
        let (name, host) = text.value.split_once('@').unwrap_or_default();
        let blank = text.value.chars().any(char::is_whitespace);
        if name.is_empty() || !host.contains('.') || blank {
            let message = format!("`{}` is no mail address", text.value);
            self.wrong(
                place(text),
                message,
                "name who answers for the flow, as in `backup@contoso.com`",
            );
            return None;
        }
        Some(text.value.clone())
    }

    /// Only the gateway, and only over TLS: a flow cannot point elsewhere.
    fn url(&mut self, text: &Text) -> Option<String> {
        let at = place(text);
        let Ok(url) = url::Url::parse(&text.value) else {
            self.wrong(
                at,
                format!("`{}` is no address", text.value),
                "write it as in `https://gw.internal:8443`",
            );
            return None;
        };
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        if url.scheme() != "https" {
            self.wrong(
                at,
                format!("`{}` has no TLS", text.value),
                "write `https://`",
            );
            return None;
        }
        if is_azure(&host) {
            let message = format!("`{host}` is Azure, not the gateway");
            self.wrong(
                at,
                message,
                "flows reach Azure through the gateway only: write its address",
            );
            return None;
        }
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            self.wrong(
                at,
                format!("`{}` is more than host and port", text.value),
                "write scheme, host and port only",
            );
            return None;
        }
        Some(text.value.trim_end_matches('/').to_owned())
    }

    fn length(&mut self, text: &Text) -> Option<Length> {
        match Length::parse(&text.value) {
            Ok(length) => Some(length),
            Err(why) => {
                self.wrong(
                    place(text),
                    why,
                    "write a whole number and `s`, `m`, `h`, `d` or `w`, as in `90m`",
                );
                None
            }
        }
    }

    /// A length of time between two others, or the usual one where none is written.
    fn between(
        &mut self,
        text: Option<&Text>,
        least: Length,
        most: Length,
        usual: Length,
    ) -> Length {
        let Some(text) = text else { return usual };
        let Some(length) = self.length(text) else {
            return usual;
        };
        if length < least || length > most {
            let message = format!("`{}` is not between {least} and {most}", text.value);
            self.wrong(place(text), message, format!("usual is {usual}"));
        }
        length
    }

    fn number(&mut self, number: Option<&Number>, least: i64, most: i64, usual: i64) -> i64 {
        let Some(number) = number else { return usual };
        if number.value < least || number.value > most {
            let message = format!("{} is not between {least} and {most}", number.value);
            self.wrong(place(number), message, format!("usual is {usual}"));
        }
        number.value
    }

    /// One of some words.
    fn word<T: Copy>(&mut self, text: &Text, known: &[(&str, T)], what: &str) -> Option<T> {
        let found = known.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            let hint = match nearest(&text.value, words.iter().copied()) {
                Some(word) => format!("write `{word}`"),
                None => format!("write one of: {}", words.join(", ")),
            };
            self.wrong(place(text), format!("`{}` is no {what}", text.value), hint);
        }
        found.map(|(_, value)| *value)
    }

    fn region(
        &mut self,
        name: &str,
        region: &written::Region,
        file: &written::File,
    ) -> Option<Region> {
        let usual = &file.defaults;
        let work = self.work(file.kind.as_ref(), region, usual);
        let deadline = self.deadline(region.deadline.as_ref().or(usual.deadline.as_ref()));
        let schedule = self.schedule(&region.schedule, &usual.schedule);
        let parallel = region.parallel.as_ref().or(usual.parallel.as_ref());
        let parallel = self.number(parallel, 1, MAX_PARALLEL, 4);
        let retry = self.retry(region.retry.as_ref().or(usual.retry.as_ref()));
        let poll = self.poll(region.poll.as_ref().or(usual.poll.as_ref()));
        let trigger = region.trigger.as_ref().or(usual.trigger.as_ref());
        let day = Length::seconds(86_400);
        let retain = trigger.and_then(|trigger| trigger.retain.as_ref());
        let retain = self.between(
            retain,
            day,
            Length::seconds(9_999 * 86_400),
            Length::seconds(30 * 86_400),
        );
        let checks = self.checks(region.validate.as_ref().or(usual.validate.as_ref()));
        let windows = region.maintenance.as_ref().or(usual.maintenance.as_ref());
        let windows = windows
            .into_iter()
            .flatten()
            .map(|window| self.window(window));
        let maintenance: Option<Vec<Window>> = windows.collect();
        let controls = region.controls.as_ref().or(usual.controls.as_ref());
        let controls: Vec<String> = controls
            .into_iter()
            .flatten()
            .map(|control| self.control(control))
            .collect();
        if region.targets.is_empty() {
            let message = format!("the region `{name}` has no target");
            self.wrong(
                place(&region.schedule.cron),
                message,
                "name at least one vault and its items",
            );
        }
        let targets = region.targets.iter().map(|target| self.target(target));
        let targets: Option<Vec<Target>> = targets.collect();
        if let (Some(work), Some(targets)) = (&work, &targets) {
            self.drilled(work, &region.targets, targets);
        }
        let mut schedule = schedule?;
        if let Some(catchup) = region.schedule.catchup_window.as_ref()
            && schedule.catchup_window > deadline.finish_within
        {
            let message = format!(
                "`{}` is longer than the run may take ({})",
                catchup.value, deadline.finish_within
            );
            self.wrong(
                place(catchup),
                message,
                "a run that is caught up later could not end in time",
            );
        }
        // A run that is caught up later could not end in time.
        schedule.catchup_window = schedule.catchup_window.min(deadline.finish_within);
        Some(Region {
            name: name.to_owned(),
            schedule,
            work: work?,
            targets: targets?,
            parallel: usize::try_from(parallel).unwrap_or(1),
            retry,
            poll,
            deadline,
            retain,
            checks: checks?,
            maintenance: maintenance?,
            controls,
        })
    }

    /// A name as frameworks have them, such as `SOC2 A1.2`.
    fn control(&mut self, text: &Text) -> String {
        let name = text.value.trim();
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            let message = format!("`{}` is no name of a control", text.value);
            self.wrong(place(text), message, "write it as in `SOC2 A1.2`");
        }
        name.to_owned()
    }

    fn schedule(
        &mut self,
        own: &written::Schedule,
        usual: &written::ScheduleSettings,
    ) -> Option<Schedule> {
        let at = place(&own.cron);
        let cron = cron(&own.cron.value).map_err(|why| {
            self.wrong(
                at,
                why,
                "write minute, hour, day, month and day of the week, as in `\"30 2 * * *\"`",
            );
        });
        let zone = zone(&own.timezone.value).map_err(|why| {
            let hint = "write a name of the IANA database, as in `Europe/Berlin`, or `UTC`";
            self.wrong(place(&own.timezone), why, hint);
        });
        let overlap = own.overlap.as_ref().or(usual.overlap.as_ref());
        let known = [
            ("skip", Overlap::Skip),
            ("queue", Overlap::Queue),
            ("cancel-other", Overlap::CancelOther),
        ];
        let overlap = overlap.map(|text| self.word(text, &known, "way to overlap"));
        let catchup = own.catchup.as_ref().or(usual.catchup.as_ref());
        let known = [
            ("none", Catchup::None),
            ("last", Catchup::Last),
            ("all", Catchup::All),
        ];
        let catchup = catchup.map(|text| self.word(text, &known, "way to catch up"));
        let window = own
            .catchup_window
            .as_ref()
            .or(usual.catchup_window.as_ref());
        let (least, most) = (Length::seconds(60), Length::seconds(7 * 86_400));
        let window = self.between(window, least, most, Length::seconds(6 * 3_600));
        let mut schedule = Schedule::new(cron.ok()?, zone.ok()?);
        schedule.overlap = overlap.unwrap_or(Some(Overlap::Skip))?;
        schedule.catchup = catchup.unwrap_or(Some(Catchup::Last))?;
        schedule.catchup_window = window;
        Some(schedule)
    }

    fn retry(&mut self, retry: Option<&written::Retry>) -> Retry {
        let attempts = self.number(retry.and_then(|r| r.attempts.as_ref()), 1, 20, 6);
        let (least, most) = (Length::seconds(1), Length::seconds(3_600));
        let first = retry.and_then(|r| r.first.as_ref());
        let first_length = self.between(first, least, most, Length::seconds(15));
        let cap = retry.and_then(|r| r.cap.as_ref());
        let cap_length = self.between(cap, least, most, Length::seconds(300).max(first_length));
        if let Some(cap) = cap.filter(|_| cap_length < first_length) {
            let message = format!(
                "`{}` is shorter than the first wait ({first_length})",
                cap.value
            );
            self.wrong(
                place(cap),
                message,
                "the longest wait is not shorter than the first",
            );
        }
        Retry {
            attempts: u32::try_from(attempts).unwrap_or(1),
            first: first_length,
            cap: cap_length,
        }
    }

    fn poll(&mut self, poll: Option<&written::Poll>) -> Poll {
        let (least, most) = (Length::seconds(1), Length::seconds(3_600));
        let first = self.between(
            poll.and_then(|p| p.first.as_ref()),
            least,
            most,
            Length::seconds(60),
        );
        let max = poll.and_then(|p| p.max.as_ref());
        let length = self.between(max, least, most, Length::seconds(300).max(first));
        if let Some(max) = max.filter(|_| length < first) {
            let message = format!("`{}` is shorter than the first wait ({first})", max.value);
            self.wrong(
                place(max),
                message,
                "jobs are looked at less often after a while, not more",
            );
        }
        Poll { first, max: length }
    }

    fn deadline(&mut self, deadline: Option<&written::Deadline>) -> Deadline {
        let (least, most) = (Length::seconds(60), Length::seconds(7 * 86_400));
        let start = deadline.and_then(|d| d.start_within.as_ref());
        let start_within = self.between(start, least, most, Length::seconds(1_800));
        let finish = deadline.and_then(|d| d.finish_within.as_ref());
        let finish_within = self.between(finish, least, most, Length::seconds(8 * 3_600));
        if let Some(at) = finish.or(start).filter(|_| finish_within < start_within) {
            let message = format!(
                "a run may begin after {start_within} and has to end within {finish_within}"
            );
            self.wrong(
                place(at),
                message,
                "let `finish_within` be longer than `start_within`",
            );
        }
        let known = [("wall", true), ("excluding-approval", false)];
        let clock = deadline.and_then(|d| d.clock.as_ref());
        let counts = clock.and_then(|clock| self.word(clock, &known, "clock of a deadline"));
        Deadline {
            start_within,
            finish_within,
            counts_approvals: counts.unwrap_or(false),
        }
    }

    fn checks(&mut self, checks: Option<&Vec<written::Check>>) -> Option<Checks> {
        let mut found = Checks {
            recovery_point: None,
            accept: vec!["Completed".to_owned()],
            warn: vec!["CompletedWithWarnings".to_owned()],
        };
        let Some(checks) = checks else {
            // Whoever says nothing wants to know that there is a recovery point of this night.
            found.recovery_point = Some(RecoveryPoint {
                younger_than: Length::seconds(26 * 3_600),
                tier: None,
            });
            return Some(found);
        };
        for check in checks {
            if let Some(point) = &check.newest_recovery_point {
                let younger_than = self.length(&point.younger_than)?;
                let known = [
                    ("snapshot", Tier::Snapshot),
                    ("vault", Tier::Vault),
                    ("archive", Tier::Archive),
                ];
                let tier = match &point.tier {
                    Some(tier) => Some(self.word(tier, &known, "tier")?),
                    None => None,
                };
                found.recovery_point = Some(RecoveryPoint { younger_than, tier });
            }
            if let Some(status) = &check.job_status {
                found.accept = self.states(&status.accept);
                found.warn = self.states(&status.warn);
                let both = status
                    .warn
                    .iter()
                    .find(|state| found.accept.contains(&state.value));
                if let Some(both) = both {
                    let message = format!("`{}` is accepted and warned of", both.value);
                    self.wrong(place(both), message, "name it in one of the two");
                }
                if status.accept.is_empty() {
                    let message = "no state of a job is accepted";
                    let at = status.warn.first().map_or(Place::default(), place);
                    self.wrong(at, message, "write `accept: [Completed]`");
                }
            }
        }
        Some(found)
    }

    fn states(&mut self, states: &[Text]) -> Vec<String> {
        let known = JOB_STATES.map(|state| (state, ()));
        for state in states {
            let found = self.word(state, &known, "state that jobs end in");
            if found.is_some() && matches!(state.value.as_str(), "Failed" | "Cancelled") {
                let message = format!("a job that ended as `{}` backed nothing up", state.value);
                self.wrong(place(state), message, "leave it out");
            }
        }
        states.iter().map(|state| state.value.clone()).collect()
    }

    fn window(&mut self, window: &written::Window) -> Option<Window> {
        let days = window
            .days
            .iter()
            .map(|day| self.word(day, &DAYS, "day of the week"));
        let days: Option<Vec<Weekday>> = days.collect();
        let (from, to) = (self.time(&window.from), self.time(&window.to));
        if window.days.is_empty() {
            self.wrong(
                place(&window.from),
                "a window has no day",
                "write `days: [Sat, Sun]`",
            );
        }
        if from.is_some() && from == to {
            let hint = "write two times, as in `from: \"22:00\"`, `to: \"04:00\"`";
            self.wrong(
                place(&window.from),
                "a window is empty, or a whole day",
                hint,
            );
        }
        Some(Window {
            days: days?,
            from: from?,
            to: to?,
        })
    }

    fn time(&mut self, text: &Text) -> Option<Time> {
        let parts = text
            .value
            .split_once(':')
            .filter(|(h, m)| h.len() == 2 && m.len() == 2);
        let number = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse::<i8>().ok())?
        };
        let time = parts.and_then(|(h, m)| Time::new(number(h)?, number(m)?, 0, 0).ok());
        if time.is_none() {
            let message = format!("`{}` is no time of the day", text.value);
            self.wrong(
                place(text),
                message,
                "write hours and minutes in quotes, as in `\"22:00\"`",
            );
        }
        time
    }

    fn notify(&mut self, channel: &str, notify: &written::Notify) -> Option<Notify> {
        let at = place(&notify.on);
        let named = self.plain(channel, at, "a channel");
        if notify.on.value.is_empty() {
            let message = format!("`{channel}` is told nothing");
            self.wrong(at, message, "write `on: [Failed, Denied, Missed]`");
        }
        let events = notify
            .on
            .value
            .iter()
            .map(|event| self.word(event, &Event::ALL, "event"));
        let events: Option<Vec<Event>> = events.collect();
        let after = self.number(notify.after_failures.as_ref(), 1, 100, 1);
        let repeat = notify.repeat.as_ref();
        let (least, most) = (Length::seconds(300), Length::seconds(7 * 86_400));
        let repeat = repeat.map(|text| self.between(Some(text), least, most, least));
        named.then_some(())?;
        Some(Notify {
            channel: channel.to_owned(),
            on: events?,
            after_failures: u32::try_from(after).unwrap_or(1),
            repeat,
        })
    }
}

/// Whether a host is one of Azure's own: a flow that named one would go round the gateway.
pub(crate) fn is_azure(host: &str) -> bool {
    const HOSTS: [&str; 10] = [
        "azure.com",
        "azure.net",
        "azure.cn",
        "azure.us",
        "windows.net",
        "microsoftonline.com",
        "microsoft.com",
        "microsoftazure.de",
        "usgovcloudapi.net",
        "chinacloudapi.cn",
    ];
    let host = host.trim_end_matches('.');
    HOSTS
        .iter()
        .any(|own| host == *own || host.ends_with(&format!(".{own}")))
}
