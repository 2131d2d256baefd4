{#- A template: each instance gets this file rendered with its own values, without the `.tpl`.
    `answer.<question id>` is what flagops minted for the question, `instance.id` the instance. -#}
Standing orders for the cipher room

1. The machine is started once, in the morning, and keeps its key until the evening.
2. Every dispatch is sealed before it goes on the wire.
3. The room is to be named as {{ instance.id }} in all letters.
