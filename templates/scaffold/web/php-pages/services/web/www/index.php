<!doctype html>
<title>Cloakroom</title>
<h1>Cloakroom</h1>
<p>Your ticket: <a href="/hook.php?number=104">104</a></p>
