#!/bin/bash
echo "orchard \4" > /etc/issue.d/50-orchard.issue
