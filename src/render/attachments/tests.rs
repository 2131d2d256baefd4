//! What templates give, and that hostile ones end.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn facts() -> Facts {
    let named = |id: &str, name: &str| Named { id: id.to_owned(), name: name.to_owned() };
    Facts {
        answers: BTreeMap::from([
            ("flag".to_owned(), "FLAG{0}".to_owned()),
            ("user_txt".to_owned(), "{{ 7*7 }}<\"'&\n".to_owned()),
        ]),
        instance_id: "0199".to_owned(),
        team: named("t-1", "Red & Co"),
        challenge: named("WEB-001", "Jar"),
        event: named("ctf", "CTF 2027"),
        services: BTreeMap::from([(
            "web".to_owned(),
            Address { host: "h".to_owned(), port: 31337 },
        )]),
    }
}

fn include(name: &str) -> Option<String> {
    match name {
        "part.txt" => Some("[{{ answer.flag }}]".to_owned()),
        "bad.txt" => Some("\n {{ nope }}".to_owned()),
        "nested.txt" => Some("{% include 'part.txt' %}".to_owned()),
        _ => None,
    }
}

/// The output, or the error in one line.
fn shown(source: &str) -> String {
    let template = Template { name: "x.tpl", source };
    match render(template, &include, &facts(), 1 << 20) {
        Ok(text) => text,
        Err(error) => {
            format!("{}:{}:{} {}", error.template, error.line, error.column, error.trouble)
        }
    }
}

#[test]
fn values_are_printed_as_they_are() {
    for (source, want) in [
        ("{{ answer.flag }}\n", "FLAG{0}\n"),
        ("{{ answer.user_txt }}", "{{ 7*7 }}<\"'&\n"),
        ("{{ answer['flag'][5:-1] }}", "0"),
        ("{{ instance.id }}|{{ team.id }}|{{ team.name }}", "0199|t-1|Red & Co"),
        ("{{ challenge.name }}|{{ event.title }}", "Jar|CTF 2027"),
        ("nc {{ service.web.host }} {{ service.web.port }}", "nc h 31337"),
        ("{% include 'part.txt' %}!", "[FLAG{0}]!"),
        ("{% set x = answer.flag|lower %}{{ x ~ '-' ~ x|length }}", "flag{0}-7"),
        ("{% for i in range(3) %}{{ i * 2 }},{% endfor %}", "0,2,4,"),
        ("{{ answer.flag.upper().replace('G', 'g') }}", "FLAg{0}"),
        ("{% if answer.nope is defined %}a{% elif 1 %}b{% endif %}", "b"),
        ("{{ answer.nope|default('none') }}", "none"),
        ("{{ 'a,b'|split(',')|join('-') }}{{ 'x\ny'|indent(2) }}", "a-bx\n  y"),
        ("{{ team.name|e }} {{ answer.user_txt|tojson }}", "Red &amp; Co \"{{ 7*7 }}<\\\"'&\\n\""),
        ("{% raw %}{{ x }}{% endraw %}{# no #}\r\n", "{{ x }}\r\n"),
        ("", ""),
    ] {
        assert_eq!(shown(source), want, "{source}");
    }
}

#[test]
fn an_error_names_its_place_and_no_value() {
    let said: Vec<String> = [
        "a\n  {{ answer.nope }}",
        "{{ nope.x }}",
        "{{ answer.flag + }}",
        "{% if x %}",
        "{{ answer.flag|foo }}",
        "{{ foo(1) }}",
        "{{ answer.flag is foo }}",
        "{{ answer.flag.foo() }}",
        "{% include '/etc/passwd' %}",
        "{% include '../x' %}",
        "{% include answer.flag %}",
        "{% include 'x.tpl' %}",
        "{% include 'nested.txt' %}",
        "{% include 'bad.txt' %}",
        "{{ answer }}",
        "{{ answer.flag - 1 }}",
        "{% macro a() %}{% endmacro %}",
        "{% set answer = 1 %}",
        "{% extends 'part.txt' %}",
    ]
    .map(shown)
    .into();
    insta::assert_snapshot!(said.join("\n"), @r"
    x.tpl:2:6 `answer.nope` is not defined
    x.tpl:1:4 `nope` is not defined
    x.tpl:1:18 this is no template: unexpected end of variable block
    x.tpl:1:9 this is no template: unexpected end of input, expected end of block
    x.tpl:1:16 there is no filter `foo`
    x.tpl:1:4 there is no function `foo`
    x.tpl:1:19 there is no test `foo`
    x.tpl:1:15 there is no method `foo`
    x.tpl:1:4 there is no file in `attachments/` `/etc/passwd`
    x.tpl:1:4 there is no file in `attachments/` `../x`
    x.tpl:1:4 `include` of anything but one name in quotes is not available
    x.tpl:1:4 an `include` of the file itself is not available
    nested.txt:1:4 `include` in a file that is included itself is not available
    bad.txt:2:5 `nope` is not defined
    x.tpl:1:4 this prints a list or a mapping; only text and numbers are printed
    x.tpl:1:4 this cannot be done with these values
    x.tpl:1:4 `macro` is not available
    x.tpl:1:8 a variable of your own with a name of the platform is not available
    x.tpl:1:4 `extends` is not available
    ");
}

#[test]
fn t01_hostile_templates_end_within_their_limits() {
    let chain = |part: &str, n: usize| format!("{{{{ 1{} }}}}", part.repeat(n));
    for source in [
        "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}".to_owned(),
        format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
        format!("{}{}", "{% if 1 %}".repeat(3000), "{% endif %}".repeat(3000)),
        format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(5000)),
        format!("{{% set s = 'abcdefgh' %}}{}{{{{ s }}}}", "{% set s = s ~ s %}".repeat(40)),
        format!("{{% set s = [1] %}}{}{{{{ s == s }}}}", "{% set s = [s, s] %}".repeat(60)),
        "{{ 'x' * 400000000 }}".to_owned(),
        "{{ [0] * 100000000 }}".to_owned(),
        "{{ answer.flag * 100000000 }}".to_owned(),
        "{{ 'a\n\n\n'|indent(100000000) }}".to_owned(),
        "{{ range(9999)|join('xxxxxxxxxx') }}".to_owned(),
        format!("{{{{ 'aaaa'{} }}}}", "|replace('a', 'aaaaaaaa')".repeat(30)),
        format!("{{{{ 'aaaa'{} }}}}", ".replace('a', 'aaaaaaaa')".repeat(30)),
        format!("{{{{ 'a'{} }}}}", "|tojson|tojson".repeat(10)),
        format!("{{% for i in range(9999) %}}{}{{% endfor %}}", "x".repeat(60_000)),
        format!("{{% set a %}}{}{{% endset %}}", "x".repeat(60_000)),
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(),
        "{{ '%1000000000d'|format(1) }}".to_owned(),
        "x".repeat(70_000),
        chain("+1", 20_000),
        chain("~1", 20_000),
        chain("|e", 20_000),
        chain(".b", 20_000),
        chain("[0]", 20_000),
        chain("()", 20_000),
        chain(" if 1 else 1", 4_000),
        chain(" or 1", 10_000),
        format!("{{{{ {}1 }}}}", "not ".repeat(15_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(30_000)),
    ] {
        let start = Instant::now();
        let template = Template { name: "x.tpl", source: &source };
        // A small stack, as the threads of the daemon have.
        let result = std::thread::scope(|scope| {
            std::thread::Builder::new()
                .stack_size(2 << 20)
                .spawn_scoped(scope, || render(template, &include, &facts(), 1 << 20))
                .unwrap()
                .join()
                .unwrap()
        });
        let error = result.expect_err(&source[..source.len().min(60)]);
        assert!(
            matches!(
                error.trouble,
                Trouble::TooMuch { .. } | Trouble::Unsupported { .. } | Trouble::Missing { .. }
            ),
            "{}: {error}",
            &source[..source.len().min(60)]
        );
        assert!(start.elapsed() < Duration::from_secs(2), "{:?} {error}", start.elapsed());
    }
}

#[test]
fn t05_an_answer_is_data_whatever_it_holds() {
    for answer in [
        "{{ 7*7 }}{% raw %}{# x",
        "\"'</script><!--\r\n\n",
        "$(id) `id` ${IFS} %s\\",
        "\0\u{feff}\u{202e}é",
        &"a{{".repeat(21_845),
    ] {
        let mut facts = facts();
        facts.answers.insert("flag".to_owned(), answer.to_owned());
        let template =
            Template { name: "x.tpl", source: "{% include 'part.txt' %}|{{ answer.flag }}" };
        let text = render(template, &include, &facts, 1 << 20);
        assert_eq!(text, Ok(format!("[{answer}]|{answer}")));
    }
}

#[test]
fn answers_are_not_shown_by_debug() {
    let shown = format!("{:?}", facts());
    assert!(shown.contains("user_txt") && !shown.contains("FLAG"), "{shown}");
}

proptest! {
    #[test]
    fn t05_any_answer_comes_out_byte_by_byte(answer in "(?s).{0,300}") {
        let mut facts = facts();
        facts.answers.insert("flag".to_owned(), answer.clone());
        let source = "<{{ answer.flag }}>\n";
        let template = Template { name: "x.tpl", source };
        let once = render(template, &include, &facts, 1 << 20);
        prop_assert_eq!(&once, &Ok(format!("<{answer}>\n")));
        prop_assert_eq!(once, render(template, &include, &facts, 1 << 20));
    }

    #[test]
    fn no_source_panics(parts in proptest::collection::vec(
        prop_oneof![
            Just("{{ "), Just(" }}"), Just("{% "), Just(" %}"), Just("for a in "), Just("endfor"),
            Just("set a = "), Just("if "), Just("else"), Just("endif"), Just("answer.flag"),
            Just("range(3)"), Just(" ~ "), Just(" * "), Just("|join"), Just("|replace('a')"),
            Just("[1:]"), Just("[a]"), Just("include 'part.txt'"), Just("'a'"), Just("\n"),
            Just("é{#"), Just("#}"), Just("(-1)"), Just(" in "), Just("a.b()"), Just("loop.index"),
        ],
        0..30,
    )) {
        let source = parts.concat();
        let template = Template { name: "x.tpl", source: &source };
        if let Err(error) = render(template, &include, &facts(), 1 << 20) {
            let is_told = error.to_string().contains("FLAG{0}");
            prop_assert!(!is_told, "{}", error);
        }
    }
}
