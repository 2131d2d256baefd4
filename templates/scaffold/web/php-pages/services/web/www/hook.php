<?php
$coats = [101 => 'a fur coat', 102 => 'two umbrellas', 103 => 'a violin case', 104 => 'your coat'];
$number = filter_input(INPUT_GET, 'number', FILTER_VALIDATE_INT);
if (!is_int($number)) {
    http_response_code(404);
    exit('no such hook');
}
$hanging = $coats[$number] ?? 'nothing';
if ($number === 7) {
    $hanging = "the director's coat, a note in its pocket: " . file_get_contents('/answers/flag');
}
?>
<!doctype html>
<title>Cloakroom</title>
<p>On hook <?= $number ?>: <?= $hanging ?></p>
