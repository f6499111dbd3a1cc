"""What --response and --exposures take, and what they say to everything else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from hdrvid.color.response import RESPONSES, sigmoid_response
from hdrvid.errors import ExposureError, InputError
from hdrvid.io.exposure_files import parse_exposures, read_exposure_file
from hdrvid.io.response_files import load_response
from hdrvid.types import ExposureList

CODES = np.linspace(0, 1, 256)
CURVE = np.stack([CODES**1.8, CODES**2.0, CODES**2.2], axis=1)


def assert_is_curve(response, exponents=(1.8, 2.0, 2.2)):
    probe = np.float32([[[0.2] * 3, [0.5] * 3, [0.9] * 3]])
    np.testing.assert_allclose(response.linearize(probe), probe ** np.array(exponents), atol=2e-5)
    np.testing.assert_allclose(response.encode(response.linearize(probe)), probe, atol=2e-5)


# named responses


@pytest.mark.parametrize("name", sorted(RESPONSES))
def test_named(name):
    assert load_response(name) is RESPONSES[name]
    assert load_response(f" {name.upper()} ") is RESPONSES[name]


@pytest.mark.parametrize(("text", "gamma"), [("gamma1", 1.0), ("gamma1.8", 1.8), ("Gamma2.40", 2.4), ("gamma4", 4.0)])
def test_gamma(text, gamma):
    response = load_response(text)
    assert response.name == f"gamma{gamma:g}"
    assert float(response.linearize(np.array(0.5))) == pytest.approx(0.5**gamma)


@pytest.mark.parametrize("text", ["gamma0.5", "gamma4.1", "gamma22"])
def test_gamma_out_of_range(text):
    with pytest.raises(InputError, match=r"gamma1\.0 to gamma4\.0"):
        load_response(text)


@pytest.mark.parametrize(("exponent", "sigma"), [(0.9, 0.6), (1.0, 2.0), (0.851, 0.15)])
def test_sigmoid(exponent, sigma):
    name = sigmoid_response(exponent, sigma).name
    response = load_response(name.upper())
    assert response.name == name
    np.testing.assert_allclose(
        response.linearize(CODES), sigmoid_response(exponent, sigma).linearize(CODES), rtol=1e-12
    )


@pytest.mark.parametrize("text", ["sigmoid0,1", "sigmoid0.9,0", "sigmoid0.9,11", "sigmoid99999999,1"])
def test_sigmoid_out_of_range(text):
    with pytest.raises(InputError, match=r"as in sigmoid0\.9,0\.6"):
        load_response(text)


@pytest.mark.parametrize(
    "text", ["", "auto", "log", "sigmoid", "sigmoid1", "sigmoid-1,1", "gamma", "gammax", "curve.txt", "gamma2.2.2"]
)
def test_unknown_names_are_answered_with_the_known_ones(text):
    with pytest.raises(InputError, match=r"no known response: give one of gamma2\.2, srgb, rec709, linear"):
        load_response(text)


# .mat


@pytest.mark.parametrize("scale", [1, 7.5, 65535])
@pytest.mark.parametrize("transposed", [False, True])
def test_mat_as_in_kalantaris_set(tmp_path, scale, transposed):
    path = tmp_path / "BaslerCRF.mat"
    savemat(path, {"BaslerCRF": (CURVE.T if transposed else CURVE) * scale, "other": CURVE[:, :1], "note": "x"})
    response = load_response(str(path))
    assert response.name == "BaslerCRF.mat"
    assert_is_curve(response)


@pytest.mark.parametrize("shape", [(256, 1), (1, 256)])
def test_mat_with_one_curve_under_any_name(tmp_path, shape):
    path = tmp_path / "camera.MAT"
    savemat(path, {"g": (CODES**2.0).reshape(shape), "count": 3, "label": "camera", "table": np.zeros((4, 5))})
    assert_is_curve(load_response(str(path)), (2, 2, 2))


def test_mat_with_log_exposure(tmp_path):
    path = tmp_path / "debevec.mat"
    g = np.log(CODES[:, None] ** 2 + 1e-3 + np.zeros(3)) + 5
    g -= g[128]
    savemat(path, {"g": g})
    curve = CODES**2
    probe = np.float32([[[CODES[60]] * 3, [CODES[200]] * 3]])
    expected = np.array([curve[60], curve[200]])[None, :, None] * np.ones(3)
    np.testing.assert_allclose(load_response(str(path)).linearize(probe), expected, atol=1e-5)


def test_mat_with_several_curves(tmp_path):
    path = tmp_path / "two.mat"
    savemat(path, {"red": CURVE[:, :1], "blue": CURVE[:, 2:]})
    with pytest.raises(InputError, match=r"several curves \(blue, red\)"):
        load_response(str(path))


def test_mat_without_a_curve(tmp_path):
    path = tmp_path / "none.mat"
    savemat(path, {"a": np.zeros((4, 5)), "b": 7, "c": "text", "d": np.array([{"x": 1}], dtype=object)})
    with pytest.raises(InputError, match="holds no curve"):
        load_response(str(path))


@pytest.mark.parametrize("content", [b"", b"not a mat file", bytes(range(256)) * 9])
def test_damaged_mat(tmp_path, content):
    path = tmp_path / "damaged.mat"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a MATLAB file"):
        load_response(str(path))


def test_truncated_mat(tmp_path):
    path = tmp_path / "cut.mat"
    savemat(path, {"BaslerCRF": CURVE})
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError):
        load_response(str(path))


def test_matlab_7_3(tmp_path):
    path = tmp_path / "new.mat"
    header = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM"
    path.write_bytes(header + bytes(384) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match="save it again with -v7"):
        load_response(str(path))


@pytest.mark.parametrize(
    ("curve", "problem"),
    [(np.ones((9, 3)), "rise"), (CURVE * [1, 1, np.nan], "finite"), (CURVE * [1, 0, 1], "rise")],
)
def test_curves_that_are_none(tmp_path, curve, problem):
    path = tmp_path / "bad.mat"
    savemat(path, {"BaslerCRF": curve})
    with pytest.raises(InputError, match=rf"bad\.mat cannot be used: .*{problem}"):
        load_response(str(path))


# .csv


def write_csv(path, columns, heading="", separator=","):
    lines = [heading] if heading else []
    lines += [separator.join(f"{v:.9g}" for v in row) for row in np.column_stack(columns)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize("heading", [True, False])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_layouts(tmp_path, heading, separator):
    def name(text):
        return text.replace(",", separator) if heading else ""

    path, level = tmp_path / "curve.csv", np.arange(256)
    assert_is_curve(load_response(write_csv(path, [level, CURVE], name("code,r,g,b"), separator)))
    assert_is_curve(load_response(write_csv(path, [CURVE * 40], name("r,g,b"), separator)))
    assert_is_curve(load_response(write_csv(path, [level, CURVE[:, 1]], name("code,linear"), separator)), (2, 2, 2))
    assert_is_curve(load_response(write_csv(path, [CURVE[:, 1]], name("linear"), separator)), (2, 2, 2))


def test_csv_columns_by_their_headings(tmp_path):
    text = write_csv(tmp_path / "bgr.csv", [CODES, CURVE[:, ::-1]], "code,Blue,Green,Red")
    assert_is_curve(load_response(text))


def test_csv_rows_are_sorted_by_code_and_comments_skipped(tmp_path):
    path = tmp_path / "shuffled.csv"
    order = np.random.default_rng(0).permutation(256)
    write_csv(path, [CODES[order], CURVE[order]], "# measured\n\ncode,r,g,b")
    assert_is_curve(load_response(str(path)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "fewer than two samples"),
        ("code,r,g,b\n0,0,0,0\n", "fewer than two samples"),
        ("0,0\n1,1\n2,oops\n", "line 3 .* not a row of numbers"),
        ("code,linear\nmore,words\n0,0\n1,1\n", "line 2 .* not a row of numbers"),
        ("0,0\n1,nan\n", "line 2 .* not a row of numbers"),
        ("0,0,0\n1,1,1\n2,2\n", "line 3 .* 2 values where the others have 3"),
        ("0,0,0,0,0\n1,1,1,1,1\n", "5 columns"),
        ("code,linear\n0,0,0\n1,1,1\n", "2 headings for 3 columns"),
        ("0,0\n1,1\n5,2\n", "evenly spaced"),
        ("1,0\n1,1\n", "evenly spaced"),
        ("0,3\n1,3\n", "rise"),
    ],
)
def test_bad_csv(tmp_path, text, problem):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=problem):
        load_response(str(path))


def test_csv_that_is_no_text(tmp_path):
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00\x80" * 20)
    with pytest.raises(InputError, match="not a text file"):
        load_response(str(path))


@pytest.mark.parametrize("name", ["missing.mat", "missing.csv"])
def test_missing_and_folders(tmp_path, name):
    with pytest.raises(InputError, match="there is no response file"):
        load_response(str(tmp_path / name))
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="there is no response file"):
        load_response(str(tmp_path / name))


# --exposures


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("0,3", (0, 3)),
        ("3, 0", (3, 0)),
        ("0 2 4", (0, 2, 4)),
        ("-3,0", (0, 3)),
        ("-1,+1,3", (0, 2, 4)),
        ("0;1.5", (0, 1.5)),
        ("0,3,0,3,0", (0, 3)),
    ],
)
def test_stops(text, stops):
    cycle = parse_exposures(text)
    assert cycle is not None
    assert cycle.stops == stops


@pytest.mark.parametrize("text", ["auto", "AUTO", " auto "])
def test_auto(text):
    assert parse_exposures(text) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("3", "cycle has 2 to 9 frames, not 1"),
        (",".join(map(str, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2])), None),
        ("0,0", "must differ"),
        ("0,40", "12 stops"),
        ("", "no exposures were given"),
    ],
)
def test_stops_that_are_no_cycle(text, problem):
    if problem is None:  # one number a frame
        assert isinstance(parse_exposures(text), ExposureList)
        return
    with pytest.raises(ExposureError, match=problem):
        parse_exposures(text)


@pytest.mark.parametrize("text", ["0,three", "exposures.txt", "0,nan", "0,inf", "0,3x", ",,"])
def test_neither_stops_nor_file(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="neither a list of stops nor a file"):
        parse_exposures(text)


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("0\n3\n", (0, 3)),
        ("0.00\r\n2.00\r\n4.00\r\n", (0, 2, 4)),
        ("\ufeff3\n0\n", (3, 0)),
        ("# long first\n3  # stops\n\n0\n3\n0\n3", (3, 0)),
        ("0 2 4 0 2 4 0", (0, 2, 4)),
        ("-3, 0\n-3, 0\n", (0, 3)),
    ],
)
def test_files(tmp_path, text, stops):
    path = tmp_path / "Exposures.txt"
    path.write_bytes(text.encode())
    cycle = parse_exposures(str(path))
    assert cycle is not None
    assert cycle.stops == stops
    assert read_exposure_file(path) == cycle


@pytest.mark.parametrize(
    ("content", "error", "problem"),
    [
        (b"0\nthree\n", InputError, "line 2 of .*'three'"),
        (b"0\n\n# x\n2 nan\n", InputError, "line 4 of .*'nan'"),
        (b"", InputError, "holds no stops"),
        (b"# nothing\n", InputError, "holds no stops"),
        (b"\xff\xfe\x00\x81", InputError, "not a text file"),
        (b"3\n", ExposureError, "Exposures.txt: .*cycle has 2 to 9 frames"),
        (b"0\n0\n0\n", ExposureError, "must differ"),
    ],
)
def test_bad_files(tmp_path, content, error, problem):
    path = tmp_path / "Exposures.txt"
    path.write_bytes(content)
    with pytest.raises(error, match=problem) as caught:
        parse_exposures(str(path))
    assert "\n" not in str(caught.value)


def test_folders_and_huge_files(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        parse_exposures(str(tmp_path))
    path = tmp_path / "huge.txt"
    path.write_bytes(b"0\n3\n" * 4_400_000)
    with pytest.raises(InputError, match="too large"):
        parse_exposures(str(path))


@pytest.mark.parametrize("text", ["x" * 5000, "a\0b", "~nobody-of-this-name/x.txt"])
def test_texts_that_can_be_no_path(text):
    with pytest.raises(InputError) as caught:
        parse_exposures(text)
    assert len(str(caught.value)) < 300
    with pytest.raises(InputError):
        load_response(text + ".csv")


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("1/500,1/60", (0, np.log2(500 / 60))),
        ("1/60s,1/500s", (np.log2(500 / 60), 0)),
        ("2ms,16ms", (0, 3)),
        ("500us,4ms", (0, 3)),
        ("0.5s,2s,8s", (0, 2, 4)),
        ("iso100,ISO1600", (0, 4)),
        ("0ev,+3EV", (0, 3)),
        ("0.998ms,8.001ms,1.001ms,7.999ms", (0, 3)),
    ],
)
def test_exposures_in_the_units_of_people(text, stops):
    cycle = parse_exposures(text)
    assert cycle is not None
    assert cycle.stops == pytest.approx(stops, abs=3e-3)


@pytest.mark.parametrize(
    "text", ["1/500,3", "2ms,iso100", "1/0,1/60", "0ms,8ms", "iso0,iso100", "1ms,1.001ms", "1ms,2ms,9ms,2.2ms"]
)
def test_exposures_that_do_not_go_together(text):
    with pytest.raises((ExposureError, InputError)) as caught:
        parse_exposures(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("name", "text", "stops"),
    [
        (
            "a.csv",
            "frame,timestamp_ns,exposure_ms,gain_db\n0,0,0.998,0\n1,33,8.001,0\n2,66,1.001,0\n3,99,7.999,0\n",
            (0, 3),
        ),
        ("a.csv", "exposure_us;gain_dB\n1000;0\n1000;18.06\n", (0, 3)),
        ("a.csv", "Exposure Time,ISO,Aperture\n1/500,100,f/4\n1/250,200,f/2.83\n", (0, 3)),
        ("a.txt", "stops\n0\n2\n4\n0\n2\n4\n", (0, 2, 4)),
        ("a.tsv", "file\texposure (ms)\nf10.png\t1\nf2.png\t1\nf9.png\t8\nf1.png\t8\n", (3, 0)),
        ("a.csv", "number,shutter\n2,1/64\n1,1/512\n", (0, 3)),
        ("a.csv", "# a camera\nexposure_s,gain\n0.001,5\n0.008,5\n", (0, 3)),
        ("a.json", '[{"exposure_ms": 1}, {"exposure_ms": 8}]', (0, 3)),
        ("a.json", '{"camera": "x", "frames": [{"stops": 3}, {"stops": 0}]}', (3, 0)),
        ("a.json", "[0, 3, 0, 3]", (0, 3)),
        ("a.json", '["2ms", "16ms"]', (0, 3)),
        ("a.json", '{"frames": [0, 1], "stops": [0, 3]}', (0, 3)),
        ("a.csv", "time_s,exposure_ms\n0.0,1\n0.04,8ms\n", (0, 3)),
    ],
)
def test_tables_of_exposures(tmp_path, name, text, stops):
    (tmp_path / name).write_text(text, encoding="utf-8")
    cycle = parse_exposures(str(tmp_path / name))
    assert cycle is not None
    assert cycle.stops == pytest.approx(stops, abs=5e-3)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("exposure\n1\n8\n", "does not say the unit of 'exposure'"),
        ("exposure_ms,gain\n1,0\n8,18\n", "does not say the unit of 'gain'"),
        ("frame,temperature\n0,20\n1,21\n", "no column of exposures"),
        ("exposure_ms\n1\nlong\n", "row 2 of .*'long' under exposure_ms"),
        ("exposure_ms\n1\n0\n", "row 2 of .*'0' under exposure_ms: give a number above 0"),
        ("frame,exposure_ms\n0,1,998\n1,16,012\n", "row 1 of .* has 3 cells under 2 headings: write decimal points"),
        ("frame;exposure_ms\n0;0,998\n1;8,1\n", "'0,998' under exposure_ms: write a decimal point"),
        ("frame,shutter\n0,500\n1,62.5\n", "'500' under shutter: give a time with its unit, such as 1/500"),
        ("exposure_time,shutter\n1/500,1/500\n1/60,1/60\n", "has the exposure more than once"),
        ("exposure_ms,stops\n1,0\n8,3\n", "has the exposure more than once"),
        ('{"size": [160, 96]}', "holds no list"),
        ('["2ms", "long"]', "number 2 of .* is 'long'"),
        ("exposure_ms,stops\n", "holds no rows"),
        ('[{"exposure_ms": 1}, {"exposure_ms": null}]', "row 2 of"),
        ('{"a": 1}', "holds no list"),
        ("[1, 2", "not valid JSON"),
        ("[" * 20_000, "not valid JSON"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, problem):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=problem) as caught:
        parse_exposures(str(path))
    assert "\n" not in str(caught.value)
