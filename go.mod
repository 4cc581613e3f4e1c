module tmelink

go 1.26
