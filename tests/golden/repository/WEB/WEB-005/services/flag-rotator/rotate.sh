#!/bin/sh
printf %s "${ANSWER_FLAG:-FLAG{samplemainanswer}}" >/out/flag
