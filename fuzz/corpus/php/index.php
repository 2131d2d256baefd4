<h1>Shop</h1><?php
// vulnerable
echo "hello to /admin/panel ";
?>
<p>insecure</p>
