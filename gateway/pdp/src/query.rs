//! Any question to an admitted bundle, answered as `opa eval --format json` does.
//!
//! For people at a terminal. It says what the policy that decides says: tests are
//! not loaded, builtin errors are errors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use regorus::{LimitError, Value as RegoValue};
use serde_json::{Map, Value, json};

use crate::engine;
use crate::policy::Policy;
use crate::{stack, strict_json};

/// Longest evaluation of one question: nobody waits behind it.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The input file is no JSON, or says something twice.
    #[error("the input is not read: {0}")]
    Input(serde_json::Error),
    /// The question or a rule failed.
    #[error("{0}")]
    Failed(String),
    /// It took too long.
    #[error("the evaluation took longer than {TIME_LIMIT:?}")]
    Timeout,
    /// The engine panicked.
    #[error("the policy engine panicked")]
    Panicked,
}

/// Asks a policy. `{}` is the answer of a question that nothing satisfies.
pub fn eval(policy: &Policy, input: Option<&str>, query: &str) -> Result<Value, EvalError> {
    if let Some(input) = input {
        strict_json::parse(input).map_err(EvalError::Input)?;
    }
    let ask = || {
        catch_unwind(AssertUnwindSafe(|| answer(policy, input, query)))
            .unwrap_or(Err(EvalError::Panicked))
    };
    stack::on_large_stack(policy.limits().stack_bytes, ask)
        .unwrap_or_else(|error| Err(EvalError::Failed(error.to_string())))
}

fn answer(policy: &Policy, input: Option<&str>, query: &str) -> Result<Value, EvalError> {
    let failed = |text: &str| EvalError::Failed(engine::one_line(text));
    let mut engine = policy.engine();
    engine::set_time_limit(&mut engine, TIME_LIMIT, policy.limits());
    if let Some(input) = input {
        let input = RegoValue::from_json_str(input).map_err(|e| failed(&e.to_string()))?;
        engine.set_input(input);
    }
    let results = engine
        .eval_query(query.to_owned(), false)
        .map_err(|error| {
            let text = error.to_string();
            match engine::is_timeout(error.downcast_ref::<LimitError>(), &text) {
                true => EvalError::Timeout,
                false => failed(&text),
            }
        })?;
    let mut rows = Vec::new();
    for result in &results.result {
        let mut expressions = Vec::new();
        for expression in &result.expressions {
            if expression.value == RegoValue::Undefined {
                // One part that has no value leaves the whole row without one.
                expressions.clear();
                break;
            }
            let value = plain(&expression.value)?;
            expressions.push(json!({
                "value": value,
                "text": expression.text.as_ref(),
                "location": {"row": expression.location.row, "col": expression.location.col},
            }));
        }
        if expressions.is_empty() {
            continue;
        }
        let mut row = Map::from_iter([("expressions".to_owned(), Value::Array(expressions))]);
        match plain(&result.bindings)? {
            Value::Object(bindings) if bindings.is_empty() => {}
            bindings => drop(row.insert("bindings".to_owned(), bindings)),
        }
        rows.push(Value::Object(row));
    }
    Ok(if rows.is_empty() {
        json!({})
    } else {
        json!({ "result": rows })
    })
}

/// An engine's value as JSON: sets become arrays.
fn plain(value: &RegoValue) -> Result<Value, EvalError> {
    serde_json::to_value(value).map_err(|error| EvalError::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::json;

    use super::{EvalError, eval};
    use crate::fixture;

    #[test]
    fn answers_like_opa() {
        let policy = fixture::policy(fixture::ALLOW_READERS);
        let input = r#"{"x": {"y": 2}}"#;
        let answer = eval(&policy, Some(input), "input.x.y + 1").unwrap();
        let expected = json!({"result": [{"expressions": [
            {"value": 3, "text": "input.x.y + 1", "location": {"row": 1, "col": 1}}]}]});
        assert_eq!(answer, expected);
        let bound = eval(&policy, Some(input), "v := input.x[k]").unwrap();
        assert_eq!(
            bound.pointer("/result/0/bindings"),
            Some(&json!({"k": "y", "v": 2}))
        );
        assert_eq!(
            eval(&policy, Some(input), "input.nothing").unwrap(),
            json!({})
        );
        assert_eq!(eval(&policy, None, "input.x").unwrap(), json!({}));
    }

    #[test]
    fn bad_questions_are_errors() {
        let policy = fixture::policy(fixture::ALLOW_READERS);
        let twice = eval(&policy, Some(r#"{"x": 1, "x": 2}"#), "input.x");
        assert!(matches!(twice, Err(EvalError::Input(_))), "{twice:?}");
        let syntax = eval(&policy, None, "input.");
        assert!(matches!(syntax, Err(EvalError::Failed(_))), "{syntax:?}");
        let network = eval(&policy, None, r#"http.send({"url": "https://x"})"#);
        assert!(matches!(network, Err(EvalError::Failed(_))), "{network:?}");
        let panics = eval(&policy, None, r#"strings.count("x", "")"#);
        assert!(matches!(panics, Err(EvalError::Panicked)), "{panics:?}");
    }
}
