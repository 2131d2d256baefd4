module cloakroom

go 1.19
