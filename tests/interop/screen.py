"""What a terminal shows: the few sequences of a VT52, which is all that programs may use if TERM says so."""


class Screen:
    """Lines of characters, and a cursor. Feed it what a program writes."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.cells = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0
        self._pending = ""

    def lines(self) -> list[str]:
        """What is to be seen, without spaces at the ends."""
        return ["".join(row).rstrip() for row in self.cells]

    def feed(self, text: str) -> None:
        """What was written; a sequence that is not whole yet waits for its rest."""
        text, self._pending = self._pending + text, ""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                length = 4 if text[at + 1 : at + 2] == "Y" else 2
                if len(text) - at < length:
                    self._pending = text[at:]
                    return
                self._escape(text[at + 1], text[at + 2 : at + 4])
                at += length
            else:
                self._character(text[at])
                at += 1

    def _escape(self, code: str, where: str) -> None:
        match code:
            case "Y":
                self.row = min(ord(where[0]) - 32, self.rows - 1)
                self.column = min(ord(where[1]) - 32, self.columns - 1)
            case "A":
                self.row = max(self.row - 1, 0)
            case "B":
                self.row = min(self.row + 1, self.rows - 1)
            case "C":
                self.column = min(self.column + 1, self.columns - 1)
            case "D":
                self.column = max(self.column - 1, 0)
            case "H":
                self.row = self.column = 0
            case "I":
                if self.row:
                    self.row -= 1
                else:
                    self.cells = [[" "] * self.columns, *self.cells[:-1]]
            case "K":
                self.cells[self.row][self.column :] = [" "] * (self.columns - self.column)
            case "J":
                self.cells[self.row][self.column :] = [" "] * (self.columns - self.column)
                for row in range(self.row + 1, self.rows):
                    self.cells[row] = [" "] * self.columns

    def _character(self, character: str) -> None:
        match character:
            case "\r":
                self.column = 0
            case "\n":
                if self.row < self.rows - 1:
                    self.row += 1
                else:
                    self.cells = [*self.cells[1:], [" "] * self.columns]
            case "\b":
                self.column = max(self.column - 1, 0)
            case "\t":
                self.column = min((self.column // 8 + 1) * 8, self.columns - 1)
            case _ if character >= " ":
                self.cells[self.row][self.column] = character
                self.column = min(self.column + 1, self.columns - 1)
