echo "hello from task $1"
