//! Values of Python as MessagePack, and back.

use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple,
};
use rmpv::Value;

use crate::error::Failure;

/// Lists and dictionaries within each other, at most.
const DEPTH_MAX: usize = 128;

/// `None`, `bool`, `int` of 64 bits, `float`, `str`, `bytes`, numbers and arrays of NumPy, lists, tuples and
/// dictionaries of these.
///
/// # Errors
/// `InvalidError` for anything else, with its type.
pub(crate) fn to_value(object: &Bound<'_, PyAny>) -> Result<Value, Failure> {
    to_value_within(object, DEPTH_MAX)
}

fn to_value_within(object: &Bound<'_, PyAny>, depth: usize) -> Result<Value, Failure> {
    let Some(depth) = depth.checked_sub(1) else {
        let message = format!("it is nested more than {DEPTH_MAX} times");
        return Err(Failure::invalid("payload", message));
    };
    if object.is_none() {
        return Ok(Value::Nil);
    }
    // Before numbers: a bool is an int.
    if object.is_instance_of::<PyBool>() {
        return Ok(Value::Boolean(object.extract()?));
    }
    if object.is_instance_of::<PyInt>() {
        return to_integer(object);
    }
    if object.is_instance_of::<PyFloat>() {
        return Ok(Value::F64(object.extract()?));
    }
    if object.is_instance_of::<PyString>() {
        return Ok(Value::from(object.extract::<String>()?));
    }
    if object.is_instance_of::<PyBytes>() || object.is_instance_of::<PyByteArray>() {
        return Ok(Value::Binary(object.extract()?));
    }
    if let Ok(entries) = object.cast::<PyDict>() {
        let mut map = Vec::with_capacity(entries.len());
        for (key, value) in entries.iter() {
            map.push((
                to_value_within(&key, depth)?,
                to_value_within(&value, depth)?,
            ));
        }
        return Ok(Value::Map(map));
    }
    if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        let mut items = Vec::with_capacity(object.len()?);
        for item in object.try_iter()? {
            items.push(to_value_within(&item?, depth)?);
        }
        return Ok(Value::Array(items));
    }
    // NumPy's numbers and arrays.
    if object.hasattr("dtype")? {
        return to_value_within(&object.call_method0("tolist")?, depth);
    }
    let name = object.get_type().name()?;
    let message = format!("a {name} cannot be written as MessagePack");
    Err(Failure::invalid("payload", message))
}

fn to_integer(object: &Bound<'_, PyAny>) -> Result<Value, Failure> {
    if let Ok(number) = object.extract::<i64>() {
        return Ok(Value::from(number));
    }
    match object.extract::<u64>() {
        Ok(number) => Ok(Value::from(number)),
        Err(_) => Err(Failure::invalid(
            "payload",
            "an int has more than 64 bits, which MessagePack does not have",
        )),
    }
}

/// The value in MessagePack that is one value.
///
/// # Errors
/// `PayloadError` for bytes that are not.
pub(crate) fn from_payload<'py>(
    py: Python<'py>,
    payload: &[u8],
) -> Result<Bound<'py, PyAny>, Failure> {
    let value = smart_embedder::event::from_payload(payload);
    let value = value.map_err(|error| Failure::new("PayloadError", "payload", error))?;
    Ok(from_value(py, &value)?)
}

fn from_value<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Nil => Ok(py.None().into_bound(py)),
        Value::Boolean(truth) => truth.into_bound_py_any(py),
        Value::Integer(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into_bound_py_any(py),
            (None, number) => number.into_bound_py_any(py),
        },
        Value::F32(number) => f64::from(*number).into_bound_py_any(py),
        Value::F64(number) => number.into_bound_py_any(py),
        Value::String(text) => match text.as_str() {
            Some(text) => text.into_bound_py_any(py),
            // Bytes that say that they are text.
            None => Ok(PyBytes::new(py, text.as_bytes()).into_any()),
        },
        Value::Binary(bytes) => Ok(PyBytes::new(py, bytes).into_any()),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(from_value(py, item)?)?;
            }
            Ok(list.into_any())
        }
        Value::Map(entries) => {
            let dict = PyDict::new(py);
            for (key, value) in entries {
                dict.set_item(from_key(py, key)?, from_value(py, value)?)?;
            }
            Ok(dict.into_any())
        }
        Value::Ext(kind, bytes) => (*kind, PyBytes::new(py, bytes)).into_bound_py_any(py),
    }
}

/// A list cannot be a key in Python, and a tuple can.
fn from_key<'py>(py: Python<'py>, key: &Value) -> PyResult<Bound<'py, PyAny>> {
    match key {
        Value::Array(items) => {
            let items = items.iter().map(|item| from_key(py, item));
            let items = items.collect::<PyResult<Vec<_>>>()?;
            Ok(PyTuple::new(py, items)?.into_any())
        }
        other => from_value(py, other),
    }
}
