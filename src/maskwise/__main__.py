from maskwise.cli import main

main()
