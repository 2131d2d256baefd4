//! Inputs made to be slow or large (`contract/security.md` §4.2, §4.3).

/// Name, target and bytes of each.
pub(crate) fn inputs() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut inputs = Vec::new();
    yaml(&mut inputs);
    python(&mut inputs);
    sources(&mut inputs);
    dockerfiles(&mut inputs);
    templates(&mut inputs);
    inputs
}

type Inputs = Vec<(&'static str, &'static str, Vec<u8>)>;

/// What a file of at most 2 MB may hold: the rules look no further.
const LARGE: usize = 1_900_000;

fn yaml(inputs: &mut Inputs) {
    let line = |(this, before): (char, char)| {
        let six = vec![format!("*{before}"); 6].join(",");
        format!("{this}: &{this} [{six}]\n")
    };
    let bomb: String = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
        + &('b'..='p').zip('a'..).map(line).collect::<String>();
    let deep = "[".repeat(100_000);
    let keys: String = (0..30_000).map(|nth| format!("k{nth}: 1\n")).collect();
    let questions: String = (0..9_000)
        .map(|nth| format!("- {{id: q{nth}, prompt: p, requires: [q{}]}}\n", nth + 1))
        .collect();
    let entries: String = (0..5_000)
        .map(|nth| format!("- {{rule: SOURCE002, path: x{nth}, reason: because}}\n"))
        .collect();
    let scalar = format!("name: {}\n", "x".repeat(250_000));
    let services: String = (0..4_000).map(|nth| format!("  s{nth}: {{image: 'a:1'}}\n")).collect();
    for target in ["metadata", "compose", "allowlist", "competition"] {
        inputs.push(("alias bomb", target, bomb.clone().into_bytes()));
        inputs.push(("deep flow", target, deep.clone().into_bytes()));
        inputs.push(("many keys", target, keys.clone().into_bytes()));
        inputs.push(("long scalar", target, scalar.clone().into_bytes()));
        inputs.push(("huge file", target, vec![b'x'; 4 << 20]));
        inputs.push(("merges", target, "<<: *a\n".repeat(20_000).into_bytes()));
    }
    inputs.push(("many questions", "metadata", format!("questions:\n{questions}").into_bytes()));
    inputs.push(("many entries", "allowlist", format!("allowlist:\n{entries}").into_bytes()));
    inputs.push(("many services", "compose", format!("services:\n{services}").into_bytes()));
    let description = "a".repeat(100_000) + " path" + &" ".repeat(100_000);
    inputs.push((
        "long description",
        "metadata",
        format!("description: '{description}'\n").into_bytes(),
    ));
}

fn python(inputs: &mut Inputs) {
    for (name, text) in [
        ("deep parentheses", "(".repeat(LARGE)),
        ("deep lists", format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000))),
        ("long sum", format!("x = 1{}", "+1".repeat(LARGE / 2 - 4))),
        ("long chain", format!("x = a{}", ".b".repeat(LARGE / 2 - 4))),
        ("many nots", format!("x = {}1", "not ".repeat(LARGE / 4 - 4))),
        ("many minuses", format!("x = {}1", "-".repeat(LARGE - 10))),
        ("many calls", format!("x = f{}", "()".repeat(LARGE / 2 - 4))),
        ("many lambdas", format!("x = {}1", "lambda: ".repeat(LARGE / 8 - 4))),
        ("many awaits", format!("x = {}1", "await ".repeat(LARGE / 6 - 4))),
        ("deep blocks", (0..2_000).map(|n| format!("{}if x:\n", " ".repeat(n))).collect()),
        ("many elifs", format!("if x:\n pass\n{}", "elif x:\n pass\n".repeat(LARGE / 15))),
        ("many ternaries", format!("x = {}1", "1 if 1 else ".repeat(LARGE / 12 - 4))),
        ("many f-strings", format!("x = {}", "f'{'".repeat(LARGE / 4 - 4))),
        ("one long text", format!("x = '{}'", "ANSWER".repeat(LARGE / 6 - 4))),
        ("many lines", "x = 'ANSWER_'\n".repeat(LARGE / 14)),
        ("many powers", format!("x = 1{}", "**1".repeat(LARGE / 3 - 4))),
        ("deep patterns", format!("match x:\n case {}", "[".repeat(100_000))),
        ("decorators", "@a\n".repeat(LARGE / 3)),
    ] {
        inputs.push((name, "exploit", text.into_bytes()));
    }
}

fn sources(inputs: &mut Inputs) {
    for (name, target, text) in [
        ("flags that never close", "page", "FLAG{".repeat(LARGE / 5)),
        ("comments that never close", "page", "<!-- x\n".repeat(LARGE / 7)),
        ("tags", "page", "<a>".repeat(LARGE / 3)),
        ("php", "php", "<?php '".repeat(LARGE / 7)),
        ("quotes", "php", format!("<?php {}", "\"'".repeat(LARGE / 2 - 4))),
        ("templates", "script", "<template>".repeat(LARGE / 10)),
        ("braces", "script", "{".repeat(LARGE)),
        ("jsx", "script", "<a href=\"/x\">{/*".repeat(LARGE / 16)),
        ("triple quotes", "python", "\"\"\"".repeat(LARGE / 3)),
        ("open texts", "python", "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n".repeat(LARGE / 36)),
        ("routes", "python", "@app.get(".repeat(LARGE / 9)),
        ("leaks", "python", "# vulnerable SSRF blind WAF\n".repeat(LARGE / 28)),
        ("spaces", "page", format!("path{}traversal", " ".repeat(LARGE - 20))),
        ("words", "page", "union based ".repeat(LARGE / 12)),
    ] {
        inputs.push((name, target, text.into_bytes()));
    }
}

fn dockerfiles(inputs: &mut Inputs) {
    const MOST: usize = 256 << 10;
    for (name, text) in [
        ("continuations", format!("FROM a:1\nRUN {}", "x \\\n".repeat(MOST / 4 - 10))),
        ("heredocs", format!("FROM a:1\n{}", "RUN <<EOF\n".repeat(MOST / 10 - 4))),
        ("many heredocs at once", format!("FROM a:1\nRUN {}\n", "<<A ".repeat(MOST / 4 - 10))),
        ("arguments", (0..10_000).map(|nth| format!("ARG A{}=$A{nth}\n", nth + 1)).collect()),
        ("stages", (0..9_000).map(|nth| format!("FROM a:1 AS s{nth}\n")).collect()),
        ("flags", format!("FROM a:1\nRUN {}x\n", "--mount=type=bind ".repeat(MOST / 18 - 4))),
        ("variables", format!("FROM {}\n", "${A:-".repeat(MOST / 5 - 4))),
        ("too large", "RUN true\n".repeat(200_000)),
    ] {
        inputs.push((name, "dockerfile", text.into_bytes()));
    }
    let patterns = "**/".repeat(20_000) + "x\n";
    inputs.push(("patterns", "dockerignore", patterns.into_bytes()));
    inputs.push(("many patterns", "dockerignore", "!**/a*b*c\n".repeat(20_000).into_bytes()));
}

fn templates(inputs: &mut Inputs) {
    for (name, text) in [
        ("loop", "{% for a in range(1000000000) %}x{% endfor %}".to_owned()),
        ("loops", "{% for a in range(100000) %}".repeat(9) + "x" + &"{% endfor %}".repeat(9)),
        ("parentheses", format!("{{{{ {}1{} }}}}", "(".repeat(5_000), ")".repeat(5_000))),
        ("a list of zeros", "{{ [0] * 100000000 }}".to_owned()),
        ("its text", "{{ ([0] * 100000000) | upper }}".to_owned()),
        (
            "doubling",
            "{% set s = 'xxxxxxxx' %}".to_owned() + &"{% set s = s ~ s %}".repeat(40) + "{{ s }}",
        ),
        ("format", "{{ '%1000000000d' | format(1) }}".to_owned()),
        ("indent", "{{ 'x' | indent(100000000) }}".to_owned()),
        ("replace", "{{ 'aaaa' | replace('a', 'aaaaaaaa') }}".repeat(50)),
        ("recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned()),
        ("itself", "{% include 'note.txt.tpl' %}".to_owned()),
        ("join", "{{ range(1000000) | join('xxxxxxxxxxxxxxxxxxxxxxxx') }}".to_owned()),
        ("blocks", "{% if x %}".repeat(6_000)),
    ] {
        inputs.push((name, "template", text.into_bytes()));
    }
}
