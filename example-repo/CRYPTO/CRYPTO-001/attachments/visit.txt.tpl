{#- A template: each instance gets it rendered, without the `.tpl`. See docs/attachments.md. -#}
Safe conduct for {{ team.name }}

The notary receives you at {{ service.notary.host }}, port {{ service.notary.port }}.
The number of your visit is {{ instance.id }}; nobody else has it.
